"""Looks at the weights of an idle worker: they must be the base's with its adapters, to the bit."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from lorajobs.engine.base import DeviceFault
from lorajobs.errors import BaseCorrupt, LoraJobsError

log = logging.getLogger(__name__)


class Watched(Protocol):
    """What has weights in memory."""

    def check(self) -> None:
        """Compares a sample of the weights with what they must be.

        Raises: BaseCorrupt, DeviceFault.
        """


class Canary:
    """Runs in the worker's child, between its jobs."""

    def __init__(
        self,
        watched: Watched,
        busy: threading.Lock,
        period_s: float,
        end: Callable[[], None],
        tell: Callable[[str], None] = lambda result: None,
    ) -> None:
        """`busy` is held while a job runs; `end` ends the process, so that a new one loads anew.

        `tell` hears what each look found: `sound`, `corrupt` or `failed`.
        """
        self._watched = watched
        self._busy = busy
        self._period_s = period_s
        self._end = end
        self._tell = tell

    def start(self) -> None:
        """Starts to look every period until the process ends; never if the period is 0."""
        if self._period_s:
            threading.Thread(target=self._run, name="canary", daemon=True).start()

    def look(self) -> bool:
        """Looks once unless a job runs; True if it looked and all was well."""
        if not self._busy.acquire(blocking=False):
            return False
        try:
            self._watched.check()
        except (BaseCorrupt, DeviceFault) as error:
            # Under the lock still: no job may begin on these weights.
            log.critical("%s; the base is loaded anew", error)
            self._tell("corrupt" if isinstance(error, BaseCorrupt) else "failed")
            self._end()
            return False
        except LoraJobsError as error:
            log.warning("the weights were not compared: %s", error.detail)
            self._tell("failed")
            return False
        finally:
            self._busy.release()
        self._tell("sound")
        return True

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._period_s):
            self.look()
