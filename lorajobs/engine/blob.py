"""An adapter in host memory, packed for one copy to the device: one block, factors by group."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorajobs.engine.arena import Arena, Slot, Slots
from lorajobs.engine.layer import Layer, LowRank, Parts, every
from lorajobs.engine.pool import Pool, Room
from lorajobs.engine.summary import Summary, summary
from lorajobs.errors import LoraNotApplied

#: Matrix units multiply in steps of this inner size: ranks are filled up with zeros.
RANK_STEP = 16
#: Where factors may begin, bytes: what the widest loads need.
_ALIGNED = 256
#: Copies into the blob at once: one core uses a small part of what the memory can take.
_PORTIONS = 8
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Bucket:
    """The factors of one adapter in one group that have one rank and one precision."""

    group: int
    slots: Slots
    #: of each slot's product
    strengths: NDArray[np.float32]
    #: (number, rank, in · height · width) and (number, out, rank), views of the blob
    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        """The inner size, filled up."""
        return self.down.shape[1]

    @cached_property
    def is_even(self) -> bool:
        """True if all products have one strength."""
        return bool((self.strengths == self.strengths[0]).all())

    def rows(self, slots: Slots) -> NDArray[np.int64]:
        """Where in this bucket each slot is, −1 where it is not."""
        if slots is self.slots:
            return np.arange(len(slots))
        at = np.searchsorted(self.slots, slots)
        at[at == len(self.slots)] = 0
        return np.where(self.slots[at] == slots, at, -1)

    def layer(self, slot: int, shape: tuple[int, ...]) -> LowRank | None:
        """One slot's factors as a layer, None if it has none here."""
        row = int(self.rows(np.array([slot]))[0])
        if row < 0:
            return None
        up = self.up[row]
        return LowRank(
            strength=float(self.strengths[row]),
            down=self.down[row].view(self.rank, *shape[1:]),
            up=up.view(*up.shape, *(1,) * (len(shape) - 2)),
        )


class Shape(NamedTuple):
    """A bucket without its memory; places in the blob are bytes."""

    group: int
    slots: Slots
    strengths: NDArray[np.float32]
    dtype: torch.dtype
    #: where the factors begin, and their sizes as a bucket has them
    down: tuple[int, tuple[int, int, int]]
    up: tuple[int, tuple[int, int, int]]

    @property
    def rank(self) -> int:
        """The inner size, filled up."""
        return self.up[1][2]

    def bucket(self, blob: Tensor) -> Bucket:
        """The bucket in this blob."""
        down, up = (
            blob[at : at + math.prod(size) * self.dtype.itemsize].view(self.dtype).view(size)
            for at, size in (self.down, self.up)
        )
        return Bucket(self.group, self.slots, self.strengths, down, up)


class Entry(NamedTuple):
    """What decides where one product's factors lie."""

    rank: int
    dtype: torch.dtype
    strength: float


@dataclass(frozen=True, eq=False)
class Packed:
    """One adapter, ready for a device."""

    room: Room
    #: each is a view of the blob, in the order of the groups
    buckets: tuple[Bucket, ...]
    #: what is no plain product of two factors
    loose: Mapping[Slot, Layer]
    summary: Summary

    @property
    def blob(self) -> Tensor:
        """Its bytes, pinned where that helps."""
        return self.room.bytes

    @cached_property
    def nbytes(self) -> int:
        """What it holds in host memory."""
        return self.blob.nbytes + sum(t.nbytes for x in self.loose.values() for t in x.tensors())

    def offset(self, part: Tensor) -> int:
        """Where a bucket's factors begin in the blob, bytes."""
        return part.data_ptr() - self.blob.data_ptr()

    def layer(self, slot: Slot, shape: tuple[int, ...]) -> Layer | None:
        """What this adapter does to one weight."""
        if slot in self.loose:
            return self.loose[slot]
        here = (b.layer(slot.at, shape) for b in self.buckets if b.group == slot.group)
        return next((layer for layer in here if layer is not None), None)


def pack(parts: Parts, arena: Arena, pool: Pool, threads: Executor) -> Packed:
    """Copies an adapter's factors into one block of the pool, in the file's precision.

    Raises: LoraNotApplied if it changes a weight that the arena does not hold.
    """
    loose: dict[Slot, Layer] = {}
    products: dict[Slot, LowRank] = {}
    for component, layers in parts.items():
        for path, layer in layers.items():
            slot = arena.places.get((component, path))
            if slot is None:
                raise LoraNotApplied(f"{component}.{path} shares its weight with another module")
            if isinstance(layer, LowRank) and layer.down.dtype == layer.up.dtype:
                products[slot] = layer
            else:
                # Out of the file, which may be gone by the time they are used.
                loose[slot] = layer.with_tensors(torch.clone)
    shapes, size = shaped(
        {s: Entry(each.rank, each.down.dtype, each.strength) for s, each in products.items()}, arena
    )
    room = pool.take(size)
    buckets = tuple(shape.bucket(room.bytes) for shape in shapes)
    copies = [
        copy
        for bucket in buckets
        for copy in _copies(
            bucket, [products[Slot(bucket.group, at)] for at in bucket.slots.tolist()]
        )
    ]
    list(threads.map(_copy, (copies[n::_PORTIONS] for n in range(_PORTIONS))))
    return Packed(room, buckets, loose, summary(every(parts)))


def shaped(entries: Mapping[Slot, Entry], arena: Arena) -> tuple[Sequence[Shape], int]:
    """The buckets of these products in their order, and the size of the blob in bytes."""
    stacks: dict[tuple[int, int, torch.dtype], dict[int, float]] = {}
    for slot, (rank, dtype, strength) in entries.items():
        stacks.setdefault((slot.group, _filled_up(rank), dtype), {})[slot.at] = strength
    shapes = []
    at = 0
    for key in sorted(stacks, key=lambda key: (key[0], key[1], str(key[2]))):
        (group, rank, dtype), stack = key, stacks[key]
        slots, number = sorted(stack), len(stack)
        _, out, width = arena.groups[group].live.shape
        down, up = (number, rank, width), (number, out, rank)
        middle = at + _aligned(math.prod(down) * dtype.itemsize)
        strengths = np.array([stack[slot] for slot in slots], np.float32)
        shapes.append(
            Shape(group, np.array(slots, np.int64), strengths, dtype, (at, down), (middle, up))
        )
        at = middle + _aligned(math.prod(up) * dtype.itemsize)
    return shapes, at


def _copies(bucket: Bucket, layers: Sequence[LowRank]) -> Iterator[tuple[Array, Array]]:
    """Where each layer's factors go, and what they are; missing ranks are zeroed here."""
    down, up = bits(bucket.down), bits(bucket.up)
    for row, layer in enumerate(layers):
        rank = layer.rank
        if rank < bucket.rank:
            down[row, rank:] = 0
            up[row, :, rank:] = 0
        yield down[row, :rank], bits(layer.down).reshape(rank, -1)
        yield up[row, :, :rank], bits(layer.up).reshape(-1, rank)


def bits(tensor: Tensor) -> Array:
    """The same memory as an array of integers."""
    # numpy knows no bfloat16, and its copies, unlike torch's, start no threads of their own.
    return tensor.view(_INTEGERS[tensor.itemsize]).numpy()


def _copy(copies: Iterable[tuple[Array, Array]]) -> None:
    for place, values in copies:
        np.copyto(place, values)


def _filled_up(rank: int) -> int:
    return -(-rank // RANK_STEP) * RANK_STEP


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
