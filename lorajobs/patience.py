"""How long one bears with something that fails."""

import time
from collections.abc import Callable
from typing import TypeVar

from lorajobs.errors import LoraJobsError, StoreUnavailable

T = TypeVar("T")

#: How long an outage of Redis, or of the object store, may last before the end of a job is given up
#: to its next attempt.
FINISH_PATIENCE_S = 60.0
FINISH_POLL_S = 0.1


class Patience:
    """Lasts `limit_s` seconds from the first of several failures in a row."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: float | None = None

    def renew(self) -> None:
        """It went well: the next failure is the first."""
        self._since = None

    def spend(self, error: Exception) -> None:
        """Raises the error once the patience is at its end."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now >= self._since + self._limit_s:
            raise error


def patiently(
    write: Callable[[], T],
    error: type[LoraJobsError] = StoreUnavailable,
    limit_s: float = FINISH_PATIENCE_S,
    is_over: Callable[[], bool] = lambda: False,
) -> T:
    """Asks again after this error for so many seconds, unless `is_over`; by default of Redis.

    Raises: the error.
    """
    patience = Patience(limit_s)
    while True:
        try:
            return write()
        except error as failure:
            if is_over():
                raise
            patience.spend(failure)
            time.sleep(FINISH_POLL_S)
