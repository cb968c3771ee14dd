"""Awaited uploads in memory: the same verbs and the same contract suite as those on Redis."""

import threading
import time
from collections.abc import Callable, Sequence

from lorajobs.adapters.awaited import AwaitedUpload


class MemoryAwaited:
    """An AwaitedStore in one process."""

    def __init__(self, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._uploads: dict[str, AwaitedUpload] = {}
        #: when each name is spent
        self._ends_ms: dict[str, int] = {}

    def put(self, upload: AwaitedUpload, keep_s: float) -> None:
        with self._lock:
            self._uploads[upload.name] = upload
            self._ends_ms[upload.name] = self._clock_ms() + int(keep_s * 1000)

    def get(self, *names: str) -> AwaitedUpload | None:
        return next((self._uploads[name] for name in names if name in self._uploads), None)

    def close(self, name: str) -> bool:
        with self._lock:
            return self._uploads.pop(name, None) is not None

    def spent(self, limit: int) -> Sequence[str]:
        with self._lock:
            now = self._clock_ms()
            ended = sorted((ends, name) for name, ends in self._ends_ms.items() if ends <= now)
            return [name for _, name in ended[:limit]]

    def forget(self, name: str) -> bool:
        with self._lock:
            if self._ends_ms.get(name, self._clock_ms() + 1) > self._clock_ms():
                return False
            del self._ends_ms[name]
            self._uploads.pop(name, None)
            return True
