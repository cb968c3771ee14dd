"""The sums of `fuse` in a single pass over the weights: each is read once and written once.

One launch per group; a program computes one tile of one weight, in a fixed order whatever else is
written with it, so a set of adapters gives the same bits by whatever way. They may differ from the
reference's by one rounding, because tensor cores add up the products of a rank in another order.
Factors arrive in one copy per group on a stream of their own, while earlier groups are computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from lorajobs.engine.arena import Arena, Group, Slots, span
from lorajobs.engine.blob import Bucket, Packed
from lorajobs.engine.fuse import BatchedFuser, Plan, Work, settle, write_mixed

#: Rows and columns of a tile, and the warps that compute it.
_TILE = 64, 128
_WARPS = 4
#: Inner sizes of one product of tiles; every rank is a multiple of the first.
_STEPS = 16, 64
#: Slots that the canary looks at together.
_SAMPLE = 4


@triton.jit(do_not_specialize=["terms"])
def _fuse(  # type: ignore[no-untyped-def]  # noqa: ANN202
    source,  # noqa: ANN001  W0: (n, out, width)
    live,  # noqa: ANN001  W: likewise
    factors,  # noqa: ANN001  all factors, one after another
    reads,  # noqa: ANN001  which of `source` each program row reads
    writes,  # noqa: ANN001  which of `live` it writes
    heads,  # noqa: ANN001  of each term: where its down and up factors begin, and its rank
    rows,  # noqa: ANN001  (n, terms): which row of the term, −1 for none
    strengths,  # noqa: ANN001  (n, terms)
    out,  # noqa: ANN001
    width,  # noqa: ANN001
    terms,  # noqa: ANN001
    STEP: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    number = tl.program_id(2)
    o = tl.program_id(1) * HIGH + tl.arange(0, HIGH)
    i = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
    r = tl.arange(0, STEP)
    inside = (o[:, None] < out) & (i[None, :] < width)
    tile = o[:, None].to(tl.int64) * width + i[None, :]
    size = out.to(tl.int64) * width
    total = tl.load(source + tl.load(reads + number) * size + tile, mask=inside, other=0.0)
    total = total.to(tl.float32)
    for term in range(terms):
        row = tl.load(rows + number * terms + term)
        if row >= 0:
            rank = tl.multiple_of(tl.load(heads + 3 * term + 2), 16)
            down = tl.multiple_of(tl.load(heads + 3 * term), 16) + row * rank * width
            up = tl.multiple_of(tl.load(heads + 3 * term + 1), 16) + row * rank * out
            product = tl.zeros((HIGH, WIDE), dtype=tl.float32)
            for k in range(0, rank, STEP):
                left = tl.load(
                    factors + up + o[:, None] * rank + (k + r)[None, :],
                    mask=o[:, None] < out,
                    other=0.0,
                )
                right = tl.load(
                    factors + down + (k + r)[:, None] * width + i[None, :],
                    mask=i[None, :] < width,
                    other=0.0,
                )
                product = tl.dot(left, right, product, input_precision=PRECISION)
            total += tl.load(strengths + number * terms + term) * product
    where = live + tl.load(writes + number) * size + tile
    tl.store(where, total.to(live.dtype.element_ty), mask=inside)


class _Job(NamedTuple):
    """One launch; the arrays are as the kernel takes them."""

    source: Tensor
    live: Tensor
    factors: Tensor
    reads: NDArray[np.int64]
    writes: NDArray[np.int64]
    heads: NDArray[np.int64]
    rows: NDArray[np.int64]
    strengths: NDArray[np.float32]


class TritonFuser:
    """Implements `Fuser` on a CUDA device."""

    def __init__(self, arena: Arena) -> None:
        """Compiles the kernel for the precisions that files have."""
        self._groups = arena.groups
        self._reference = BatchedFuser(arena)
        self._device = arena.groups[0].live.device
        self._copies = torch.cuda.Stream(self._device)
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            for rank in _STEPS:
                self._warm(arena.groups[0], dtype, rank)

    def write(self, plan: Plan, stale: Mapping[int, Slots]) -> None:
        """Copies the factors group by group and computes each group when its factors are there."""
        main = torch.cuda.current_stream(self._device)
        self._copies.wait_stream(main)
        staged, bases = self._room(plan)
        arrived = [self._copy(work, plan.packs, staged, bases) for work in plan.works]
        for number, slots in stale.items():
            self._groups[number].restore(slots)
        quick = [work for work in plan.works if _dtype(work) is not None]
        jobs = [self._job(work, plan.packs, staged, bases) for work in quick]
        events = dict(zip((work.number for work in plan.works), arrived, strict=True))
        for work, launch in zip(quick, self._ready(jobs), strict=True):
            main.wait_event(events[work.number])
            launch.run()
        for work in plan.works:
            if _dtype(work) is None:
                main.wait_event(events[work.number])
                self._write_slowly(work)
        write_mixed(self._groups, plan.mixed)
        settle(self._groups)

    def expected(self, work: Work, slots: Slots) -> Tensor:
        """The same kernel on a few slots, into memory of their own."""
        if _dtype(work) is None:
            return self._reference.expected(work, slots)
        group = self._groups[work.number]
        source = group.pristine[span(slots)].to(self._device)
        found, heads, rows, start = [], [], [], 0
        for bucket, _ in work.terms:
            at = bucket.rows(slots)
            there = at >= 0
            rows.append(np.where(there, np.cumsum(there) - 1, -1))
            down, up = bucket.down[at[there]].flatten(), bucket.up[at[there]].flatten()
            heads.append((start, start + down.numel(), bucket.rank))
            found += [down, up]
            start += down.numel() + up.numel()
        live = torch.empty_like(source)
        order = np.arange(len(slots))
        factors = torch.cat(found).to(self._device)
        strengths = _strengths(work, slots)
        job = _Job(
            source, live, factors, order, order, np.array(heads), np.stack(rows, 1), strengths
        )
        for launch in self._ready([job]):
            launch.run()
        return live

    def samples(self, work: Work) -> Sequence[Slots]:
        """Any few slots: what is written to one does not depend on the others."""
        if _dtype(work) is None:
            return self._reference.samples(work)
        return [work.slots[i : i + _SAMPLE] for i in range(0, len(work.slots), _SAMPLE)]

    def _warm(self, group: Group, dtype: torch.dtype, rank: int) -> None:
        _, out, width = group.live.shape
        none = torch.zeros((out + width) * rank, dtype=dtype, device=self._device)
        source = group.pristine[:1].to(self._device)
        one = np.zeros(1, np.int64)
        heads = np.array([(0, width * rank, rank)])
        strengths = np.ones((1, 1), np.float32)
        job = _Job(
            source, torch.empty_like(source), none, one, one, heads, one[:, None], strengths
        )
        for launch in self._ready([job]):
            launch.run()

    def _room(self, plan: Plan) -> tuple[Tensor, dict[int, int]]:
        """Device memory for all blobs, and where each begins, by its identity."""
        bases, size = {}, 0
        for packed in plan.packs:
            bases[id(packed)] = size
            size += packed.blob.nbytes
        return torch.empty(size, dtype=torch.uint8, device=self._device), bases

    def _copy(
        self, work: Work, packs: Sequence[Packed], staged: Tensor, bases: Mapping[int, int]
    ) -> torch.cuda.Event:
        """Enqueues what one group needs; the event says when it is there."""
        group = self._groups[work.number]
        with torch.cuda.stream(self._copies):
            if not group.is_twin_near:
                # The kernel then reads W0 from the very place where it writes W.
                group.restore(work.slots)
            for packed in packs:
                here = [bucket for bucket in packed.buckets if bucket.group == work.number]
                if here:
                    start, end = _offset(packed, here[0].down), _end(packed, here[-1].up)
                    base = bases[id(packed)]
                    place = staged[base + start : base + end]
                    place.copy_(packed.blob[start:end], non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._copies)
        return event

    def _job(
        self, work: Work, packs: Sequence[Packed], staged: Tensor, bases: Mapping[int, int]
    ) -> _Job:
        group = self._groups[work.number]
        owners = {id(bucket): packed for packed in packs for bucket in packed.buckets}
        dtype = work.terms[0].bucket.down.dtype
        heads = []
        for bucket, _ in work.terms:
            packed = owners[id(bucket)]
            base = bases[id(packed)]
            starts = base + _offset(packed, bucket.down), base + _offset(packed, bucket.up)
            heads.append((*(start // dtype.itemsize for start in starts), bucket.rank))
        return _Job(
            group.pristine if group.is_twin_near else group.live,
            group.live,
            staged.view(dtype),
            work.slots,
            work.slots,
            np.array(heads),
            np.stack([bucket.rows(work.slots) for bucket, _ in work.terms], axis=1),
            _strengths(work, work.slots),
        )

    def _ready(self, jobs: Sequence[_Job]) -> Sequence["_Launch"]:
        """Brings the small tables of all launches to the device in one copy."""
        tables = [
            array
            for job in jobs
            for array in (job.reads, job.writes, job.heads, job.rows, job.strengths)
        ]
        starts = np.cumsum([0, *(-(-array.nbytes // 16) * 16 for array in tables)])
        block = torch.empty(int(starts[-1]), dtype=torch.uint8, pin_memory=True)
        held = block.numpy()
        for start, array in zip(starts, tables, strict=False):
            held[start : start + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
        there = block.to(self._device, non_blocking=True)
        placed = [
            there[start : start + array.nbytes].view(_TORCH[array.dtype])
            for start, array in zip(starts, tables, strict=False)
        ]
        return [_Launch(job, placed[5 * n : 5 * n + 5]) for n, job in enumerate(jobs)]

    def _write_slowly(self, work: Work) -> None:
        group = self._groups[work.number]
        for chunk in self._reference.samples(work):
            group.live[span(chunk)] = self._reference.expected(work, chunk)


_TORCH: Mapping[Any, torch.dtype] = {
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
}


class _Launch(NamedTuple):
    """A launch with its tables on the device."""

    job: _Job
    tables: Sequence[Tensor]

    def run(self) -> None:
        """Enqueues it on the current stream."""
        source, live, factors = self.job.source, self.job.live, self.job.factors
        _, out, width = live.shape
        high, wide = _TILE
        grid = (-(-width // wide), -(-out // high), len(self.job.reads))
        ranks = self.job.heads[:, 2]
        _fuse[grid](
            source,
            live,
            factors,
            *self.tables,
            out,
            width,
            len(ranks),
            STEP=max(step for step in _STEPS if not (ranks % step).any()),
            HIGH=high,
            WIDE=wide,
            # Not TF32, which would round single precision to 11 bits.
            PRECISION="ieee" if factors.dtype == torch.float32 else "tf32",
            num_warps=_WARPS,
        )


def _dtype(work: Work) -> torch.dtype | None:
    """The precision of all its factors, None if they have several or one without products."""
    dtypes = {term.bucket.down.dtype for term in work.terms}
    dtype = dtypes.pop()
    fit = not dtypes and dtype in (torch.float16, torch.bfloat16, torch.float32)
    return dtype if fit else None


def _strengths(work: Work, slots: Slots) -> NDArray[np.float32]:
    return np.stack([_column(bucket, scale, slots) for bucket, scale in work.terms], axis=1)


def _column(bucket: Bucket, scale: float, slots: Slots) -> NDArray[np.float32]:
    # Where a slot has no row the kernel reads nothing, so any number will do.
    return bucket.strengths[bucket.rows(slots)] * np.float32(scale)


def _offset(packed: Packed, part: Tensor) -> int:
    return part.data_ptr() - packed.blob.data_ptr()


def _end(packed: Packed, part: Tensor) -> int:
    return _offset(packed, part) + part.nbytes
