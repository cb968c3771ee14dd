"""An adapter in host memory, packed for one copy to the device: one block, factors by group."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorajobs.engine.arena import Arena, Slot, Slots
from lorajobs.engine.layer import Layer, LowRank, Parts, Summary, summary
from lorajobs.engine.pool import Pool, Room
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
    stacks: dict[tuple[int, int, torch.dtype], dict[int, LowRank]] = {}
    for component, layers in parts.items():
        for path, layer in layers.items():
            slot = arena.places.get((component, path))
            if slot is None:
                raise LoraNotApplied(f"{component}.{path} shares its weight with another module")
            if isinstance(layer, LowRank) and layer.down.dtype == layer.up.dtype:
                key = slot.group, _filled_up(layer.rank), layer.down.dtype
                stacks.setdefault(key, {})[slot.at] = layer
            else:
                # Out of the file, which may be gone by the time they are used.
                loose[slot] = layer.with_tensors(torch.clone)
    order = sorted(stacks, key=lambda key: (key[0], key[1], str(key[2])))
    sizes = [_size(arena, key, len(stacks[key])) for key in order]
    room = pool.take(sum(down + up for down, up in sizes))
    buckets: list[Bucket] = []
    copies: list[tuple[Array, Array]] = []
    start = 0
    for key, (down, up) in zip(order, sizes, strict=True):
        place = room.bytes[start : start + down], room.bytes[start + down : start + down + up]
        bucket = _bucket(key, stacks[key], arena, place)
        buckets.append(bucket)
        copies += _copies(bucket, [stacks[key][slot] for slot in bucket.slots.tolist()])
        start += down + up
    list(threads.map(_copy, (copies[n::_PORTIONS] for n in range(_PORTIONS))))
    return Packed(room, tuple(buckets), loose, summary(parts))


def _size(arena: Arena, key: tuple[int, int, torch.dtype], number: int) -> tuple[int, int]:
    group, rank, dtype = key
    _, out, width = arena.groups[group].live.shape
    return tuple(  # type: ignore[return-value]
        -(-number * rank * side * dtype.itemsize // _ALIGNED) * _ALIGNED for side in (width, out)
    )


def _bucket(
    key: tuple[int, int, torch.dtype],
    stack: Mapping[int, LowRank],
    arena: Arena,
    place: tuple[Tensor, Tensor],
) -> Bucket:
    group, rank, dtype = key
    _, out, width = arena.groups[group].live.shape
    number, slots = len(stack), sorted(stack)
    down = place[0].view(dtype)[: number * rank * width].view(number, rank, width)
    up = place[1].view(dtype)[: number * out * rank].view(number, out, rank)
    strengths = np.array([stack[slot].strength for slot in slots], np.float32)
    return Bucket(group, np.array(slots, np.int64), strengths, down, up)


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
