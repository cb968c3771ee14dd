"""A base's place in the slab, and the host memory that it comes back from.

What adapters do not change is never written, and a bare base's live weights are W0. So host memory
is written once, when the base is loaded; to park it costs nothing, and to bring it back one copy:
W0 and all else to where the live weights are, W0 from there to its twin, on the device.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, chain
from typing import NamedTuple

import torch
from torch import Tensor

from lorajobs.engine.arena import Arena, Group, Stack, stacks
from lorajobs.engine.block import Block
from lorajobs.engine.ferry import Pair, copy_all, is_plain, tensors_of
from lorajobs.engine.slab import Slab, within

#: Every stack, and whatever else had memory of its own, begins at a multiple of this, bytes.
ALIGNED = 512
#: What is copied at a time, so that the twin of one part is made while the next one comes.
PIECE = 256 << 20


class Loose(NamedTuple):
    """Tensors that share memory, and where in their storage that begins and ends, bytes."""

    tensors: Sequence[Tensor]
    start: int
    end: int


class Cargo:
    """What a base consists of, in the order in which it lies in memory: stacks, then all else."""

    def __init__(self, models: Mapping[str, torch.nn.Module], adapted: Collection[str]) -> None:
        """`adapted` are those of the models whose weights adapters change; nothing is moved."""
        self.stacks = stacks({name: models[name] for name in adapted})
        stacked = {id(m.weight) for stack in self.stacks for m in stack.modules.values()}
        self.loose = _loose(t for t in tensors_of(models.values()) if id(t) not in stacked)
        sizes = [_up(stack.nbytes) for stack in self.stacks]
        #: of the stacks, which lie at the front, and of all
        self.stacked = sum(sizes)
        sizes += [_up(loose.end - loose.start) for loose in self.loose]
        self.size = sum(sizes)
        #: where each begins
        self.offsets = [0, *accumulate(sizes)][:-1]

    def reach(self, *, twin_near: bool) -> int:
        """Bytes that it takes on a device."""
        return self.size + (self.stacked if twin_near else 0)


class Berth:
    """Where one base lies, on the device and on the host."""

    def __init__(self, cargo: Cargo, slab: Slab, *, twin_near: bool, piece: int = PIECE) -> None:
        """Writes host memory, and moves the base's tensors into the slab, which has room for them.

        `twin_near` keeps W0 on the device beside the live weights, otherwise it lies in the host
        memory alone. The base is there after the first `fill`, which copies a `piece` at a time.
        """
        self._slab = slab
        self._stacked = cargo.stacked
        self._piece = piece
        self._twin_near = twin_near
        self._side: torch.cuda.Stream | None = None
        if slab.device.type == "cuda":
            self._side = torch.cuda.Stream(slab.device)  # type: ignore[no-untyped-call]
        #: bytes of host memory, and of the slab
        self.size = cargo.size
        self.reach = cargo.reach(twin_near=twin_near)
        self._block = Block(cargo.size)
        number = len(cargo.stacks)
        stacked = [*zip(cargo.stacks, cargo.offsets[:number], strict=True)]
        loose = [*zip(cargo.loose, cargo.offsets[number:], strict=True)]
        copy_all(chain(self._stacked_onto(stacked), self._loose_onto(loose)))
        self.arena = Arena([self._moved(stack, at) for stack, at in stacked])
        for some, at in loose:
            self._move(some, at)
        self._block.pin(slab.device)

    def fill(self) -> None:
        """Brings the bare base to the device, and waits until it is there."""
        for start in range(0, self.size, self._piece):
            end = min(start + self._piece, self.size)
            part = self._slab.part(start, end)
            part.copy_(self._block.bytes[start:end], non_blocking=True)
            if self._twin_near and start < self._stacked:
                end = min(end, self._stacked)
                with self._beside():
                    twin = self._slab.part(self.size + start, self.size + end)
                    twin.copy_(part[: end - start])
        self.wait()

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self._slab.device.type == "cuda":
            torch.cuda.synchronize(self._slab.device)

    def _beside(self) -> AbstractContextManager[object]:
        """What is enqueued in it waits for what was enqueued before, and nothing waits for it."""
        if self._side is None:
            return nullcontext()
        self._side.wait_stream(torch.cuda.current_stream(self._slab.device))
        return torch.cuda.stream(self._side)

    def _stacked_onto(self, stacked: Iterable[tuple[Stack, int]]) -> Iterator[Pair]:
        for stack, at in stacked:
            yield from stack.onto(_laid(stack, self._block.bytes[at : at + stack.nbytes]))

    def _loose_onto(self, loose: Iterable[tuple[Loose, int]]) -> Iterator[Pair]:
        for some, at in loose:
            size = some.end - some.start
            place = within(some.tensors[0], some.start, torch.uint8, (size,), (1,))
            yield self._block.bytes[at : at + size], place

    def _moved(self, stack: Stack, at: int) -> Group:
        live = _laid(stack, self._slab.part(at, at + stack.nbytes))
        if not self._twin_near:
            return stack.move(live, _laid(stack, self._block.bytes[at : at + stack.nbytes]))
        twin = self.size + at
        return stack.move(live, _laid(stack, self._slab.part(twin, twin + stack.nbytes)))

    def _move(self, loose: Loose, at: int) -> None:
        for tensor in loose.tensors:
            begin = at + _start(tensor) - loose.start
            tensor.data = self._slab.tensor(begin, tensor.dtype, tensor.shape, tensor.stride())


def why_not_movable(models: Mapping[str, torch.nn.Module]) -> str | None:
    """Why these models' tensors cannot be moved about as bytes; None if they can."""
    for tensor in tensors_of(models.values()):
        if not is_plain(tensor):
            return f"it has tensors of the kind {type(tensor).__name__}"
        if tensor.device.type != "cpu":
            return f"it has tensors on {tensor.device}"
    return None


def _laid(stack: Stack, block: Tensor) -> Tensor:
    """Bytes as a tensor that has a place for each weight."""
    return block.view(stack.like.dtype).view(stack.shape)


def _loose(tensors: Iterable[Tensor]) -> Sequence[Loose]:
    found: dict[int, dict[int, Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            found.setdefault(tensor.untyped_storage().data_ptr(), {})[id(tensor)] = tensor
    return [_span([*shared.values()]) for shared in found.values()]


def _span(tensors: Sequence[Tensor]) -> Loose:
    starts = [_start(tensor) for tensor in tensors]
    ends = [start + _reach(tensor) for start, tensor in zip(starts, tensors, strict=True)]
    # Each of them then lies at a multiple of its precision, as it does now.
    return Loose(tensors, min(starts) // ALIGNED * ALIGNED, max(ends))


def _start(tensor: Tensor) -> int:
    """Its first byte in its storage."""
    return int(tensor.storage_offset()) * tensor.itemsize


def _reach(tensor: Tensor) -> int:
    """Bytes from its first element to the end of its last one."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (1 + sum((number - 1) * stride for number, stride in steps)) * tensor.itemsize


def _up(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
