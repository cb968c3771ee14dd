"""A block of host memory that a GPU copies from: a parked base, adapters."""

import logging
import mmap
import time
from contextlib import suppress
from typing import Any
from weakref import finalize

import torch

log = logging.getLogger(__name__)


class Block:
    """Bytes of exactly this size that can be pinned once they are written.

    PyTorch's own pinned memory takes the next power of two, keeps what is freed, and takes it in
    small pages, which lasts longer.
    """

    def __init__(self, size: int) -> None:
        """Takes the memory as it is written. Raises: OSError, MemoryError."""
        mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(AttributeError, OSError):
            # Not everywhere; it is faster to write and to pin.
            mapped.madvise(mmap.MADV_HUGEPAGE)
        #: uint8; nothing may be copied to or from them once this object is gone
        self.bytes = torch.frombuffer(mapped, dtype=torch.uint8)

    def pin(self, device: torch.device) -> None:
        """Lets a GPU copy it on its own; without that it is slower, and the log says so."""
        if device.type != "cuda":
            return
        begun, address = time.monotonic(), self.bytes.data_ptr()
        code = int(_cudart().cudaHostRegister(address, len(self.bytes), 0))
        if code:
            log.warning("host memory cannot be pinned (CUDA error %d)", code)
            with suppress(RuntimeError):
                # CUDA tells a failure once more to whoever asks next.
                torch.zeros(1, device=device)
        else:
            finalize(self, _unpin, address).atexit = False
            took_s = time.monotonic() - begun
            log.debug("%.2f GB of host memory pinned in %.2f s", len(self.bytes) / 1e9, took_s)


def _unpin(address: int) -> None:
    # After a fault nothing works any more, and the process ends.
    with suppress(RuntimeError):
        torch.cuda.synchronize()
        _cudart().cudaHostUnregister(address)


def _cudart() -> Any:  # noqa: ANN401
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
