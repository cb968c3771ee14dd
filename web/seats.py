"""How many requests of one process may wait for jobs at the same time."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from lorajobs.errors import LoraJobsError, StoreUnavailable
from lorajobs.listeners import TOLD_S, Listeners

_log = logging.getLogger(__name__)


class TooManyListeners(LoraJobsError):
    """So many clients follow jobs through this process that no more are taken."""

    code, title = "too_many_listeners", "Too many clients follow jobs"
    status, retryable = 503, True


class Seats:
    """Places for requests that wait; each holds a thread, and the others must find one."""

    def __init__(
        self, count: int, told: Listeners, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """How many are taken is told there, for `/metrics` of every process."""
        self._count = count
        self._taken = 0
        self._lock = threading.Lock()
        self._closed = False
        self._board = told
        self._clock = clock
        self._telling = threading.Lock()
        #: what was told last, and when
        self._told, self._told_at = 0, 0.0

    @property
    def taken(self) -> int:
        """How many wait now."""
        return self._taken

    def closed(self) -> bool:
        """True once all have to leave."""
        return self._closed

    def beat(self) -> bool:
        """The same; who waits asks at each beat, which keeps what was told from growing old."""
        if self._clock() - self._told_at > TOLD_S / 3:
            self._tell(again=True)
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
                full = (
                    f"{self._count} follow jobs through this process (LORAJOBS_API_LISTENERS); "
                    "try again soon, or poll the job"
                )
                raise TooManyListeners("the process ends" if self._closed else full)
            self._taken += 1
        self._tell()
        given_back = False

        def leave() -> None:
            nonlocal given_back
            with self._lock:
                self._taken -= not given_back
                given_back = True
            self._tell()

        return leave

    def _tell(self, again: bool = False) -> None:
        # Who tells already looks once more when it is done, so nobody else needs to wait for that.
        while (again or self._told != self._taken) and self._telling.acquire(blocking=False):
            try:
                self._told, self._told_at, again = self._taken, self._clock(), False
                self._board.tell(f"{socket.gethostname()}-{os.getpid()}", self._told)
            except StoreUnavailable as error:
                # It is a metric: no request fails for it.
                _log.info("how many wait was not told: %s", error.detail)
            finally:
                self._telling.release()
