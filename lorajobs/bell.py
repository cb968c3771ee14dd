"""Wakes a thread from another process, or from a signal."""

import os
import select
from contextlib import suppress


class Bell:
    """A pipe: made before a fork both processes have it, and a signal's handler may ring it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)

    def ring(self) -> None:
        """Wakes who waits, or who waits next; waits for nobody."""
        # A full pipe has rung often enough.
        with suppress(BlockingIOError):
            os.write(self._write, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Waits for so many seconds at most; True if it rang since the last call."""
        if not select.select([self._read], [], [], timeout_s)[0]:
            return False
        with suppress(BlockingIOError):
            os.read(self._read, 65_536)
        return True
