"""Who listens, in memory."""

import time
from collections.abc import Callable, Mapping

from lorajobs.listeners import TOLD_S


class MemoryListeners:
    """Listeners of one process."""

    def __init__(self, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._clock_ms = clock_ms
        #: by process: how many, and until when that counts
        self._told: dict[str, tuple[int, int]] = {}

    def tell(self, process: str, count: int) -> None:
        self._told[process] = count, self._clock_ms() + int(TOLD_S * 1000)

    def counts(self) -> Mapping[str, int]:
        now = self._clock_ms()
        told = self._told.items()
        return {name: count for name, (count, ends_ms) in told if count and ends_ms > now}
