"""Device memory that the bases of one process take turns in."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Slab:
    """One block of a device's memory; tensors in it lie at fixed offsets.

    All of them share one storage, so they follow where it goes: while it is free they have no
    memory, and once it is taken again they have theirs.
    """

    def __init__(self, device: torch.device) -> None:
        """Takes nothing yet."""
        self._bytes = torch.empty(0, dtype=torch.uint8, device=device)

    @property
    def size(self) -> int:
        """Bytes that it has now."""
        return self._bytes.untyped_storage().nbytes()

    @property
    def device(self) -> torch.device:
        """Whose memory it is."""
        return self._bytes.device

    def take(self, size: int) -> None:
        """Has so many bytes from now on, in another place and with any content."""
        self.free()
        self._bytes.untyped_storage().resize_(size)

    def free(self) -> None:
        """Gives back the memory."""
        self._bytes.untyped_storage().resize_(0)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def tensor(
        self, at: int, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int]
    ) -> Tensor:
        """A tensor that begins at a byte; all of it must lie within `size`."""
        return within(self._bytes, at, dtype, shape, strides)

    def part(self, start: int, end: int) -> Tensor:
        """Some of its bytes."""
        return self.tensor(start, torch.uint8, (end - start,), (1,))


def within(
    block: Tensor, at: int, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int]
) -> Tensor:
    """A tensor in the storage of another, from a byte on that its precision divides."""
    empty = torch.empty(0, dtype=dtype, device=block.device)
    return empty.set_(block.untyped_storage(), at // dtype.itemsize, shape, strides)
