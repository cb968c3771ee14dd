"""How long one bears with something that fails."""

import time
from collections.abc import Callable
from typing import TypeVar

from lorajobs.errors import StoreUnavailable

T = TypeVar("T")

#: How long an outage of Redis may last before the end of a job is given up to its next attempt.
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


def patiently(write: Callable[[], T]) -> T:
    """Asks again through an outage of Redis; the job is rescued if it lasts.

    Raises: StoreUnavailable after a minute of it.
    """
    patience = Patience(FINISH_PATIENCE_S)
    while True:
        try:
            return write()
        except StoreUnavailable as error:
            patience.spend(error)
            time.sleep(FINISH_POLL_S)
