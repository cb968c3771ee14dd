"""Copies a base's tensors out of its mapped files, by several threads.

What is mapped comes into memory page by page while it is copied. One thread does that at a tenth of
the speed at which a GPU takes it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lorajobs.engine.block import Block

#: For host memory, where the system clears each page first; to a GPU four are as fast as sixteen.
THREADS = min(16, os.cpu_count() or 1)
BOATS = 4
#: Bytes that a thread copies at a time.
LOAD = 32 << 20


#: A tensor, and one of the same form that it gets its content from.
Pair = tuple[Tensor, Tensor]


class Part(NamedTuple):
    """Some bytes of a tensor in host memory, and the place of the same size that they go to."""

    target: Tensor
    source: Tensor


class Boat:
    """Pinned memory for a load, and a stream of its own to a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._block = Block(LOAD)
        self._block.pin(device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def carry(self, load: Sequence[Part]) -> None:
        """Copies parts to the GPU, and waits until they are there."""
        at = 0
        with torch.cuda.stream(self._stream):
            for target, source in load:
                room = self._block.bytes[at : at + len(source)]
                _copy(Part(room, source))
                target.copy_(room, non_blocking=True)
                at += len(source)
        self._stream.synchronize()


def copy_all(pairs: Iterable[Pair]) -> None:
    """Copies each second tensor into the first, of the same form; both lie in host memory."""
    rows = []
    for target, source in pairs:
        if target.is_contiguous() and source.is_contiguous():
            rows.append((target, source))
        else:
            target.copy_(source)

    def carry(load: Sequence[Part]) -> None:
        for part in load:
            _copy(part)

    _each(rows, carry, THREADS)


def bring(models: Iterable[torch.nn.Module], device: torch.device) -> None:
    """Moves what these models have in host memory to a GPU; other devices are left to `Module.to`.

    So are tensors that are no plain bytes in a row. Raises: what allocation raises, and the models
    are as they were.
    """
    if device.type != "cuda":
        return
    found = {id(tensor): tensor for tensor in tensors_of(models) if _is_row(tensor)}.values()
    pairs = [(torch.empty_like(tensor, device=device), tensor) for tensor in found]
    # Other streams write into this memory than had it before.
    torch.cuda.synchronize(device)
    boats = SimpleQueue[Boat]()
    for _ in range(BOATS):
        boats.put(Boat(device))

    def carry(load: Sequence[Part]) -> None:
        boat = boats.get()
        try:
            boat.carry(load)
        finally:
            # Whoever waits for it would wait for ever.
            boats.put(boat)

    _each(pairs, carry, BOATS)
    for target, tensor in pairs:
        tensor.data = target


def tensors_of(models: Iterable[torch.nn.Module]) -> Iterator[Tensor]:
    """All parameters and buffers; what two models share comes twice."""
    for model in models:
        yield from model.parameters()
        yield from model.buffers()


def is_plain(tensor: Tensor) -> bool:
    """True of a tensor that is its bytes, and no more than these."""
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided


def _each(pairs: Iterable[Pair], carry: Callable[[Sequence[Part]], None], threads: int) -> None:
    with ThreadPoolExecutor(threads, thread_name_prefix="ferry") as pool:
        for _ in pool.map(carry, _loads(pairs)):
            pass


def _loads(pairs: Iterable[Pair]) -> Iterator[Sequence[Part]]:
    """Parts that together are no more than a load, in their order."""
    load: list[Part] = []
    size = 0
    for target, source in pairs:
        place, content = _bytes(target), _bytes(source)
        if len(place) != len(content):
            raise ValueError(f"{len(content)} bytes do not fit into {len(place)}")
        for start in range(0, len(content), LOAD):
            part = Part(place[start : start + LOAD], content[start : start + LOAD])
            if size + len(part.source) > LOAD:
                yield load
                load, size = [], 0
            load.append(part)
            size += len(part.source)
    if load:
        yield load


def _copy(part: Part) -> None:
    # On this thread alone, while torch would ask those of all cores for help.
    np.copyto(part.target.numpy(), part.source.numpy())


def _bytes(tensor: Tensor) -> Tensor:
    """Never a copy. Raises: RuntimeError for a tensor whose bytes do not follow each other."""
    return tensor.detach().view(-1).view(torch.uint8)


def _is_row(tensor: Tensor) -> bool:
    """True of a tensor whose bytes follow each other in host memory."""
    is_here = is_plain(tensor) and tensor.device.type == "cpu"
    return is_here and tensor.is_contiguous() and tensor.numel() > 0
