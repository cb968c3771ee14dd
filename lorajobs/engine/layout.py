"""Where the bytes of an adapter's file go: straight from the page cache to where factors lie.

A header says every name, shape and place, so a second file with the same one needs no name
resolved. What the header does not say is looked at each time: every value, and to the bit all that
is no factor, such as alphas.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorajobs.engine.arena import Arena, Slot
from lorajobs.engine.blob import Bucket, Entry, Packed, Shape, bits, shaped
from lorajobs.engine.pool import Pool
from lorajobs.engine.products import Products
from lorajobs.engine.summary import Summary, summary

#: A file is read in about so many parts at once, each into at most so many places.
_PARTS, _PLACES = 16, 1000
#: Bytes of values that one thread looks at.
_LOOKED_AT = 1 << 22
_INFINITY = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80, torch.float32: 0x7F800000}
#: So that values of any precision can be viewed.
_ALIGNED = 8


class Piece(NamedTuple):
    """Neighbouring bytes of a file and their place: in the blob, or else beside it."""

    begin: int
    end: int
    in_blob: bool
    at: int


class Stretch(NamedTuple):
    """An up factor that lies beside the blob, as its rows are shorter than those in the bucket."""

    bucket: int
    row: int
    rank: int
    at: int


class Layout(NamedTuple):
    """The way from a file with one header to the packed adapter."""

    #: sizes of the blob, of what lies beside it, and of all tensors in the file, bytes
    blob: int
    aside: int
    tensors: int
    #: in the order of the file, in portions
    portions: Sequence[Sequence[Piece]]
    stretches: Sequence[Stretch]
    shapes: Sequence[Shape]
    #: the last bytes beside the blob, which every file with this layout must have
    same: bytes
    summary: Summary

    def packed(self, file: int, start: int, pool: Pool, threads: Executor) -> Packed | None:
        """Reads a file whose tensors begin at `start` into host memory.

        `file` is a descriptor. None if it is another adapter than its header says, or none at all.
        """
        room, aside = pool.take(self.blob), np.empty(self.aside, np.uint8)
        places = aside.data, room.bytes.numpy().data

        def read(pieces: Sequence[Piece]) -> bool:
            into = [places[p.in_blob][p.at : p.at + p.end - p.begin] for p in pieces]
            wanted = pieces[-1].end - pieces[0].begin
            return os.preadv(file, into, start + pieces[0].begin) == wanted

        if not all(threads.map(read, self.portions)):
            return None
        if aside[self.aside - len(self.same) :].tobytes() != self.same:
            return None
        buckets = tuple(shape.bucket(room.bytes) for shape in self.shapes)
        for stretch in self.stretches:
            _fill(buckets[stretch.bucket], stretch, aside)
        packed = Packed(room, buckets, {}, self.summary)
        return packed if _is_finite(packed, threads) and _acts(packed) else None


def laid_out(products: Products, arena: Arena) -> Layout | None:
    """The way from this file, and from all that differ in the factors' values alone.

    None if it changes a weight that the arena does not hold.
    """
    found = {arena.places.get((each.component, each.path)): each for each in products.factors}
    slots = {slot: product for slot, product in found.items() if slot is not None}
    if len(slots) < len(products.factors):
        return None
    shapes, size = shaped({s: Entry(p.rank, p.dtype, p.strength) for s, p in slots.items()}, arena)
    pieces: list[Piece] = []
    stretches: list[Stretch] = []
    aside = 0
    for number, shape in enumerate(shapes):
        (down, (_, rank, width)), (up, (_, out, _)) = shape.down, shape.up
        for row, at in enumerate(shape.slots.tolist()):
            product = slots[Slot(shape.group, at)]
            step = row * rank * shape.dtype.itemsize
            pieces.append(Piece(*product.down.span, True, down + step * width))
            if product.rank == rank:
                pieces.append(Piece(*product.up.span, True, up + step * out))
                continue
            begin, end = product.up.span
            pieces.append(Piece(begin, end, False, aside))
            stretches.append(Stretch(number, row, product.rank, aside))
            aside += -(-(end - begin) // _ALIGNED) * _ALIGNED
    for name, held in products.others.items():
        pieces.append(Piece(*products.header.tensors[name].span, False, aside))
        aside += len(held)
    same = b"".join(products.others.values())
    total = products.header.bytes
    portions = list(_portions(pieces, total))
    return Layout(size, aside, total, portions, stretches, shapes, same, summary(products.factors))


def _portions(pieces: Sequence[Piece], size: int) -> Iterator[Sequence[Piece]]:
    """The pieces in the order of the file, of so many bytes together as are read at once."""
    portion: list[Piece] = []
    for piece in sorted(piece for piece in pieces if piece.begin < piece.end):
        portion.append(piece)
        if piece.end - portion[0].begin >= size / _PARTS or len(portion) == _PLACES:
            yield portion
            portion = []
    if portion:
        yield portion


def _fill(bucket: Bucket, stretch: Stretch, aside: NDArray[np.uint8]) -> None:
    """Puts an up factor's rows into longer ones, and zeros beyond both of its ends."""
    down, up = bits(bucket.down[stretch.row]), bits(bucket.up[stretch.row])
    size = up.shape[0] * stretch.rank * up.itemsize
    values = aside[stretch.at : stretch.at + size].view(up.dtype)
    up[:, : stretch.rank] = values.reshape(-1, stretch.rank)
    up[:, stretch.rank :] = 0
    down[stretch.rank :] = 0


def _is_finite(packed: Packed, threads: Executor) -> bool:
    """Looks at each value once, on several cores."""
    parts = []
    for bucket in packed.buckets:
        for factors in (bucket.down, bucket.up):
            values = bits(factors).reshape(-1)
            number = 1 + values.nbytes // _LOOKED_AT
            parts += [(part, _INFINITY[factors.dtype]) for part in np.array_split(values, number)]
    return all(threads.map(_is_below, *zip(*parts, strict=True)))


def _is_below(values: NDArray[np.signedinteger], infinity: int) -> bool:
    # As integers, positive finite numbers end below infinity; so do negative ones without a sign.
    sign = 1 << (8 * values.itemsize - 1)
    unsigned = values.view(f"u{values.itemsize}")
    return bool(values.max() < infinity and unsigned.max() < sign + infinity)


def _acts(packed: Packed) -> bool:
    """False if it surely adds nothing."""
    return any(
        strength != 0 and _is_nonzero(down) and _is_nonzero(up)
        for bucket in packed.buckets
        for strength, down, up in zip(bucket.strengths, bucket.down, bucket.up, strict=True)
    )


def _is_nonzero(factor: Tensor) -> bool:
    # Without its sign, as there is a negative zero.
    return bool((bits(factor) << 1).any())
