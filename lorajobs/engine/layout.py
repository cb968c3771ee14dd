"""Where the bytes of an adapter's file go: known once a file with such a header was accounted for.

A header says every name, shape and place, so of two files with one header the second needs no name
resolved: its bytes are read straight to where the first one's factors lie. What the header does not
say is looked at each time: every value, and to the bit all that is no factor, such as alphas.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorajobs.adapters.header import Header
from lorajobs.adapters.keys import inventory
from lorajobs.engine.arena import Arena, Slots
from lorajobs.engine.blob import Bucket, Packed, bits
from lorajobs.engine.layer import LowRank, Parts, Summary
from lorajobs.engine.pool import Pool

#: A file is read in about so many parts at once, each into at most so many places.
_PARTS, _PLACES = 16, 1000
#: What is no factor, bytes: 20,000 alphas are 80,000.
_MOST_ASIDE = 1 << 18
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


class Shape(NamedTuple):
    """A bucket without its memory; places in the blob are bytes."""

    group: int
    slots: Slots
    strengths: NDArray[np.float32]
    dtype: torch.dtype
    down: tuple[int, torch.Size]
    up: tuple[int, torch.Size]

    @classmethod
    def of(cls, bucket: Bucket, packed: Packed) -> "Shape":
        """That of a bucket of this adapter."""
        return cls(
            bucket.group,
            bucket.slots,
            bucket.strengths,
            bucket.down.dtype,
            (packed.offset(bucket.down), bucket.down.shape),
            (packed.offset(bucket.up), bucket.up.shape),
        )

    def bucket(self, blob: Tensor) -> Bucket:
        """The bucket in this blob."""
        down, up = (
            blob[at : at + size.numel() * self.dtype.itemsize].view(self.dtype).view(size)
            for at, size in (self.down, self.up)
        )
        return Bucket(self.group, self.slots, self.strengths, down, up)


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


def learned(packed: Packed, parts: Parts, arena: Arena, header: Header) -> Layout | None:
    """The layout that took a file of this header to `packed`, which was made of `parts`.

    None if not every tensor went to its place as it is: factors that were computed, or a format
    that is no plain product of two factors.
    """
    if packed.loose:
        return None
    places = _Places(header)
    stretches = []
    for number, bucket in enumerate(packed.buckets):
        group = arena.groups[bucket.group]
        for row, slot in enumerate(bucket.slots.tolist()):
            layer = parts[group.component][group.paths[slot]]
            if not isinstance(layer, LowRank):
                return None
            places.take(layer.down, packed.offset(bucket.down[row]))
            if layer.rank == bucket.rank:
                places.take(layer.up, packed.offset(bucket.up[row]))
            else:
                stretches.append(Stretch(number, row, layer.rank, places.take(layer.up, None)))
    same = places.rest()
    if same is None or not places.are_whole:
        return None
    return Layout(
        packed.blob.nbytes,
        places.aside,
        header.bytes,
        list(_portions(places.pieces, header.bytes)),
        stretches,
        [Shape.of(bucket, packed) for bucket in packed.buckets],
        same,
        packed.summary,
    )


class _Places:
    """Gives each byte of a file its place, once."""

    def __init__(self, header: Header) -> None:
        self.pieces: list[Piece] = []
        self.aside = 0
        #: False once a factor came that is no tensor of the file as it is
        self.are_whole = True
        self._header = header
        self._left = {tensor.span: name for name, tensor in header.tensors.items()}
        self._file: torch.UntypedStorage | None = None

    def take(self, factor: Tensor, at: int | None) -> int:
        """A factor goes to this place in the blob, or else beside it; returns the place."""
        storage = factor.untyped_storage()
        self._file = self._file or storage
        begin = int(factor.storage_offset()) * factor.itemsize - self._header.start
        span = begin, begin + int(factor.nbytes)
        is_mapped = storage.nbytes() == self._header.start + self._header.bytes
        is_same = storage.data_ptr() == self._file.data_ptr()
        if not (is_mapped and is_same and factor.is_contiguous() and span in self._left):
            self.are_whole = False
        self._left.pop(span, None)
        place = self.aside if at is None else at
        self.pieces.append(Piece(*span, at is not None, place))
        if at is None:
            self.aside += -(-factor.nbytes // _ALIGNED) * _ALIGNED
        return place

    def rest(self) -> bytes | None:
        """Puts what is left beside the blob and returns its bytes; None if it matters more."""
        found = inventory(self._left.values())
        alphas = {parts.get("alpha") for parts in found.modules.values()}
        size = sum(end - begin for begin, end in self._left)
        if self._file is None or size > _MOST_ASIDE:
            return None
        if not {*self._left.values()} <= {*found.extras, *alphas}:
            return None
        file = torch.empty(0, dtype=torch.uint8).set_(self._file)[self._header.start :].numpy()
        same = b""
        for begin, end in sorted(self._left):
            self.pieces.append(Piece(begin, end, False, self.aside))
            self.aside += end - begin
            same += file[begin:end].tobytes()
        return same


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
