"""How many requests of one process may wait for jobs at the same time."""

import threading
from collections.abc import Callable

from lorajobs.errors import LoraJobsError


class TooManyListeners(LoraJobsError):
    """So many clients follow jobs through this process that no more are taken."""

    code, title = "too_many_listeners", "Too many clients follow jobs"
    status, retryable = 503, True


class Seats:
    """Places for requests that wait; each holds a thread, and the others must find one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def taken(self) -> int:
        """How many wait now."""
        return self._taken

    def closed(self) -> bool:
        """True once all have to leave."""
        return self._closed

    def close(self) -> None:
        """Asks all to leave, because the process ends; safe in a handler of signals."""
        self._closed = True

    def take(self) -> Callable[[], None]:
        """Takes a place; what it returns gives it back, once however often it is called.

        Raises: TooManyListeners.
        """
        with self._lock:
            if self._closed or self._taken >= self._count:
                full = f"{self._count} follow jobs through this process (LORAJOBS_API_LISTENERS)"
                raise TooManyListeners("the process ends" if self._closed else full)
            self._taken += 1
        given_back = False

        def leave() -> None:
            nonlocal given_back
            with self._lock:
                self._taken -= not given_back
                given_back = True

        return leave
