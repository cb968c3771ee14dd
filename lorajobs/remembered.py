"""An answer as it was a moment ago, for those who ask all the time."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Asks again once its answer is `kept_s` seconds old."""

    def __init__(
        self, ask: Callable[[], T], kept_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._kept_s = kept_s
        self._clock = clock
        self._seen: tuple[float, T] | None = None

    def __call__(self) -> T:
        """The answer; raises what asking raises."""
        # Two threads may both ask; neither is harmed.
        seen = self._seen
        if seen is None or self._clock() - seen[0] >= self._kept_s:
            seen = self._seen = self._clock(), self._ask()
        return seen[1]
