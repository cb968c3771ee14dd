"""How long one bears with something that fails."""

import time


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
