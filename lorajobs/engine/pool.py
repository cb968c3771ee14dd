"""Host memory for adapters, taken once: to pin it takes longer than to read an adapter into it."""

import threading
from collections import deque

import torch
from torch import Tensor

from lorajobs.engine.block import Block


class Room:
    """Some bytes; a pool has its own back when this object goes."""

    def __init__(self, held: Tensor, start: int = 0, returned: deque["Span"] | None = None) -> None:
        """`returned` hears where in the pool these bytes began and ended."""
        #: uint8
        self.bytes = held
        self._span = start, start + held.nbytes
        self._returned = returned

    def __del__(self) -> None:
        if self._returned is not None:
            # An append may happen at any moment, even inside of `Pool.take`.
            self._returned.append(self._span)


#: First byte and the one after the last.
Span = tuple[int, int]


class Pool:
    """One block of host memory; what it has no room for is allocated."""

    def __init__(self, size: int, *, pinned: bool) -> None:
        """`size` in bytes; `pinned` for copies that a GPU makes on its own."""
        self._pinned = pinned
        self._block = Block(size) if size else None
        if self._block and pinned:
            self._block.pin(torch.device("cuda"))
        self._free: list[Span] = [(0, size)]
        self._returned: deque[Span] = deque()
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """Bytes of the block that nobody has."""
        with self._lock:
            self._take_back()
            return sum(end - start for start, end in self._free)

    def take(self, size: int) -> Room:
        """So many bytes with any content, from the first place that has them."""
        with self._lock:
            self._take_back()
            for number, (start, end) in enumerate(self._free):
                if self._block and end - start >= size:
                    self._free[number] = start + size, end
                    return Room(self._block.bytes[start : start + size], start, self._returned)
        return Room(self._new(size))

    def _new(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._pinned)

    def _take_back(self) -> None:
        while self._returned:
            self._free.append(self._returned.popleft())
        joined: list[Span] = []
        for start, end in sorted(span for span in self._free if span[0] < span[1]):
            if joined and joined[-1][1] == start:
                joined[-1] = joined[-1][0], end
            else:
                joined.append((start, end))
        self._free = joined
