"""The sums of `fuse` in a single pass over the weights: each is read once and written once.

A launch per group, in an order of summation that depends on nothing but the adapters, so a set of
them gives the same bits by whatever way. They may differ from the reference's by one rounding,
because tensor cores add up the products of a rank in another order. Factors arrive in one copy per
group on a stream of their own, while earlier groups are computed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorajobs.engine.arena import Arena, Slots, runs, span
from lorajobs.engine.blob import Packed
from lorajobs.engine.fuse import BatchedFuser, Plan, Work, write_mixed
from lorajobs.engine.fuse_kernel import STEPS, Run, Table

#: Slots that the canary looks at together.
_SAMPLE = 4
#: More runs of neighbouring slots than this are cheaper by a table.
_RUNS = 4
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32)


class TritonFuser:
    """Implements `Fuser` on a CUDA device."""

    def __init__(self, arena: Arena) -> None:
        """Compiles the kernel for half-precision files; others compile it at their first use."""
        self._groups = arena.groups
        self._reference = BatchedFuser(arena)
        self._device = arena.groups[0].live.device
        self._copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        #: once the last write is done, and with it what it read of host memory
        self._written = torch.cuda.Event()  # type: ignore[no-untyped-call]
        #: False: all factors arrive before anything is computed, for comparison
        self.overlapped = True
        for dtype in (torch.float16, torch.bfloat16):
            for rank in STEPS:
                self._warm(dtype, rank)

    def write(self, plan: Plan, stale: Mapping[int, Slots]) -> None:
        """Copies the factors group by group and computes each group when its factors are there."""
        self._written.synchronize()
        main = torch.cuda.current_stream(self._device)
        self._copies.wait_stream(main)
        try:
            self._enqueue(plan, stale, main)
        finally:
            main.wait_stream(self._copies)
            self._written.record(main)

    def _enqueue(self, plan: Plan, stale: Mapping[int, Slots], main: torch.cuda.Stream) -> None:
        staged, bases = self._room(plan)
        arrived = [self._copy(work, plan.packs, staged, bases) for work in plan.works]
        for number, slots in stale.items():
            self._groups[number].restore(slots)
        if not self.overlapped:
            self._copies.synchronize()
        for work, event in zip(plan.works, arrived, strict=True):
            main.wait_event(event)
            if _is_quick(work):
                self._write_quickly(work, plan.packs, staged, bases)
            else:
                group = self._groups[work.number]
                for chunk in self._reference.samples(work):
                    group.live[span(chunk)] = self._reference.expected(work, chunk)
        write_mixed(self._groups, plan.mixed)

    def expected(self, work: Work, slots: Slots) -> Tensor:
        """The same kernel on a few slots, into memory of their own."""
        if not _is_quick(work):
            return self._reference.expected(work, slots)
        source = self._groups[work.number].pristine[span(slots)].to(self._device)
        live = torch.empty_like(source)
        found, heads, rows, start = [], [], [], 0
        for bucket, _ in work.terms:
            at = bucket.rows(slots)
            there = at >= 0
            rows.append(np.where(there, np.cumsum(there) - 1, -1))
            down, up = bucket.down[at[there]].flatten(), bucket.up[at[there]].flatten()
            heads.append((start, start + down.numel(), bucket.rank))
            found += [down, up]
            start += down.numel() + up.numel()
        factors = torch.cat(found).to(self._device)
        if _is_plain(work):
            Run(source, live, factors, *heads[0], _strength(work)).launch()
        else:
            order = np.arange(len(slots))
            table = np.stack(rows, axis=1), _strengths(work, slots)
            Table(source, live, order, order, factors, np.array(heads), *table).launch()
        return live

    def samples(self, work: Work) -> Sequence[Slots]:
        """Any few slots: what is written to one does not depend on the others."""
        if not _is_quick(work):
            return self._reference.samples(work)
        return [work.slots[i : i + _SAMPLE] for i in range(0, len(work.slots), _SAMPLE)]

    def _warm(self, dtype: torch.dtype, rank: int) -> None:
        source = self._groups[0].pristine[:1].to(self._device)
        _, out, width = source.shape
        factors = torch.zeros((out + width) * rank, dtype=dtype, device=self._device)
        Run(source, torch.empty_like(source), factors, 0, width * rank, rank, 1.0).launch()

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
                    start = packed.offset(here[0].down)
                    end = packed.offset(here[-1].up) + here[-1].up.nbytes
                    base = bases[id(packed)]
                    place = staged[base + start : base + end]
                    place.copy_(packed.blob[start:end], non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._copies)
        return event

    def _write_quickly(
        self, work: Work, packs: Sequence[Packed], staged: Tensor, bases: Mapping[int, int]
    ) -> None:
        group = self._groups[work.number]
        source = group.pristine if group.is_twin_near else group.live
        owners = {id(bucket): packed for packed in packs for bucket in packed.buckets}
        factors = staged.view(work.terms[0].bucket.down.dtype)
        heads = []
        for bucket, _ in work.terms:
            packed = owners[id(bucket)]
            ends = (bases[id(packed)] + packed.offset(x) for x in (bucket.down, bucket.up))
            heads.append((*(end // factors.itemsize for end in ends), bucket.rank))
        if not _is_plain(work):
            rows = np.stack([bucket.rows(work.slots) for bucket, _ in work.terms], axis=1)
            table = np.array(heads), rows, _strengths(work, work.slots)
            Table(source, group.live, work.slots, work.slots, factors, *table).launch()
            return
        down, up, rank = heads[0]
        _, out, width = group.live.shape
        for run in runs(work.slots):
            place = source[run], group.live[run]
            Run(*place, factors, down, up, rank, _strength(work)).launch()
            down += (run.stop - run.start) * rank * width
            up += (run.stop - run.start) * rank * out


def _is_quick(work: Work) -> bool:
    """True if the kernels can do it: all factors have one precision that tensor cores take."""
    dtypes = {term.bucket.down.dtype for term in work.terms}
    return len(dtypes) == 1 and dtypes.pop() in _PRECISIONS


def _is_plain(work: Work) -> bool:
    """True if one bucket of one strength has a product for each slot, and few runs hold them."""
    bucket = work.terms[0].bucket
    if len(work.terms) > 1 or len(bucket.slots) != len(work.slots):
        return False
    return bucket.is_even and int(np.count_nonzero(np.diff(work.slots) != 1)) < _RUNS


def _strength(work: Work) -> float:
    return float(_strengths(work, work.slots[:1])[0, 0])


def _strengths(work: Work, slots: Slots) -> NDArray[np.float32]:
    # Where a slot has no row the kernel reads nothing, so any number will do.
    return np.stack([b.strengths[b.rows(slots)] * np.float32(s) for b, s in work.terms], axis=1)
