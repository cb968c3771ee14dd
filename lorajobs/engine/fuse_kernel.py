"""The kernels of `fuse_triton`: one program computes one tile of one weight."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

#: Inner sizes that one product of tiles takes whole; every rank is a multiple of the first.
STEPS = 16, 32, 64, 128
#: Rows and columns of a tile by inner size, and the warps that compute it: measured on an H200.
_TILES = {16: (32, 128), 32: (32, 128), 64: (64, 128), 128: (64, 128)}
_WARPS = 4
_TORCH: Mapping[Any, torch.dtype] = {
    np.dtype(np.int64): torch.int64,
    np.dtype(np.float32): torch.float32,
}


class Run(NamedTuple):
    """Neighbouring weights that factors of one kind change, one after another in memory."""

    #: W0 and W: (n, out, width)
    source: Tensor
    live: Tensor
    #: where the first weight's down (rank, width) and up (out, rank) begin in `factors`
    factors: Tensor
    down: int
    up: int
    rank: int
    strength: float

    def launch(self) -> None:
        """Enqueues it on the current stream."""
        number, out, width = self.live.shape
        step = _step([self.rank])
        _fuse_run[_grid(number, out, width, step)](
            self.source,
            self.live,
            self.factors,
            self.down,
            self.up,
            self.rank,
            self.strength,
            out,
            width,
            ONCE=step == self.rank,
            **_options(self.factors, step),
        )


class Table(NamedTuple):
    """Any weights of a group and any terms; a row for each weight, a column for each term."""

    #: W0 and W: (n, out, width)
    source: Tensor
    live: Tensor
    #: which of `source` is read and which of `live` is written
    reads: NDArray[np.int64]
    writes: NDArray[np.int64]
    #: every down (rank, width) and up (out, rank) of every term
    factors: Tensor
    #: of each term: where its down and its up factors begin in `factors`, and its rank
    heads: NDArray[np.int64]
    #: which of the term's factors a weight has, −1 for none
    rows: NDArray[np.int64]
    strengths: NDArray[np.float32]

    def launch(self) -> None:
        """Enqueues it on the current stream, after one copy of its tables."""
        _, out, width = self.live.shape
        tables = _placed(
            self.live.device, self.reads, self.writes, self.strengths, self.rows, self.heads
        )
        step = _step(self.heads[:, 2].tolist())
        _fuse_table[_grid(len(self.reads), out, width, step)](
            self.source,
            self.live,
            self.factors,
            *tables,
            out,
            width,
            len(self.heads),
            **_options(self.factors, step),
        )


# Triton reads the kernels' parameters as it likes, so they have no types here.
# ruff: noqa: ANN001, ANN202
@triton.jit
def _fuse_run(
    source,
    live,
    factors,
    down_start,
    up_start,
    rank,
    strength,
    out,
    width,
    ONCE: tl.constexpr,
    STEP: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Nothing to look up before weights and factors can be read: a third faster than by tables.
    number = tl.program_id(2).to(tl.int64)
    o = tl.program_id(1) * HIGH + tl.arange(0, HIGH)
    i = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
    down = factors + down_start + number * rank * width
    up = factors + up_start + number * rank * out
    product = _product(up, down, o, i, out, width, rank, ONCE, STEP, HIGH, WIDE, PRECISION)
    inside = (o[:, None] < out) & (i[None, :] < width)
    place = number * out * width + (o[:, None] * width + i[None, :])
    total = tl.load(source + place, mask=inside, other=0.0).to(tl.float32) + strength * product
    tl.store(live + place, total.to(live.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["terms"])
def _fuse_table(
    source,
    live,
    factors,
    reads,
    writes,
    strengths,
    rows,
    heads,
    out,
    width,
    terms,
    STEP: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    number = tl.program_id(2)
    o = tl.program_id(1) * HIGH + tl.arange(0, HIGH)
    i = tl.program_id(0) * WIDE + tl.arange(0, WIDE)
    inside = (o[:, None] < out) & (i[None, :] < width)
    tile = o[:, None] * width + i[None, :]
    size = tl.cast(out, tl.int64) * width
    base = source + tl.load(reads + number) * size
    total = tl.load(base + tile, mask=inside, other=0.0).to(tl.float32)
    for term in range(terms):
        row = tl.load(rows + number * terms + term)
        if row >= 0:
            rank = tl.multiple_of(tl.load(heads + 3 * term + 2).to(tl.int32), 16)
            down = factors + tl.multiple_of(tl.load(heads + 3 * term), 16) + row * rank * width
            up = factors + tl.multiple_of(tl.load(heads + 3 * term + 1), 16) + row * rank * out
            product = _product(up, down, o, i, out, width, rank, False, STEP, HIGH, WIDE, PRECISION)
            total += tl.load(strengths + number * terms + term) * product
    place = live + tl.load(writes + number) * size
    tl.store(place + tile, total.to(live.dtype.element_ty), mask=inside)


@triton.jit
def _product(
    up,
    down,
    o,
    i,
    out,
    width,
    rank,
    ONCE: tl.constexpr,
    STEP: tl.constexpr,
    HIGH: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    r = tl.arange(0, STEP)
    ups = up + o[:, None] * rank + r[None, :]
    downs = down + r[:, None] * width + i[None, :]
    tall, broad = o[:, None] < out, i[None, :] < width
    product = tl.zeros((HIGH, WIDE), dtype=tl.float32)
    if ONCE:
        left = tl.load(ups, mask=tall, other=0.0)
        right = tl.load(downs, mask=broad, other=0.0)
        product = tl.dot(left, right, product, input_precision=PRECISION)
    else:
        for k in range(0, rank, STEP):
            left = tl.load(ups + k, mask=tall, other=0.0)
            right = tl.load(downs + k * width, mask=broad, other=0.0)
            product = tl.dot(left, right, product, input_precision=PRECISION)
    return product


def _step(ranks: list[int]) -> int:
    return max(step for step in STEPS if not any(rank % step for rank in ranks))


def _grid(number: int, out: int, width: int, step: int) -> tuple[int, int, int]:
    high, wide = _TILES[step]
    return -(-width // wide), -(-out // high), number


def _options(factors: Tensor, step: int) -> dict[str, Any]:
    high, wide = _TILES[step]
    return {
        "STEP": step,
        "HIGH": high,
        "WIDE": wide,
        # Not TF32, which would round single precision to 11 bits.
        "PRECISION": "ieee" if factors.dtype == torch.float32 else "tf32",
        "num_warps": _WARPS,
    }


def _placed(device: torch.device, *tables: NDArray[Any]) -> list[Tensor]:
    starts = np.cumsum([0, *(-(-table.nbytes // 16) * 16 for table in tables)]).tolist()
    block = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=True)
    held = block.numpy()
    for start, table in zip(starts, tables, strict=False):
        held[start : start + table.nbytes] = np.ascontiguousarray(table).view(np.uint8).ravel()
    there = block.to(device, non_blocking=True)
    return [
        there[start : start + table.nbytes].view(_TORCH[table.dtype])
        for start, table in zip(starts, tables, strict=False)
    ]
