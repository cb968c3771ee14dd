"""Frees the GPU of a worker that has had nothing to do for long; its next job brings the base."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from lorajobs.engine.base import DeviceFault
from lorajobs.errors import LoraJobsError

log = logging.getLogger(__name__)

#: Looks in the time after which a base goes.
LOOKS = 4


class Loaded(Protocol):
    """The base that may go."""

    @property
    def uses(self) -> int:
        """How many jobs have asked for it."""

    def unload(self) -> str:
        """Gives back its memory: what became of it, empty if nothing is loaded.

        Raises: EngineFailed, DeviceFault.
        """


class Unloader:
    """Runs in the worker's child, between its jobs."""

    def __init__(
        self,
        loaded: Loaded,
        busy: threading.Lock,
        idle_s: float,
        end: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`busy` is held while a job generates; the base goes after `idle_s` without one.

        `end` ends the process, so that a new one takes the place of one whose device failed.
        """
        self._loaded = loaded
        self._busy = busy
        self._idle_s = idle_s
        self._end = end
        self._clock = clock
        self._uses = loaded.uses
        self._since = clock()

    def start(self) -> None:
        """Starts to look, until the process ends; never if the time is 0."""
        if self._idle_s:
            threading.Thread(target=self._run, name="unloader", daemon=True).start()

    def look(self) -> bool:
        """Unloads the base if it was idle for so long; True if it did."""
        if not self._busy.acquire(blocking=False):
            self._since = self._clock()
            return False
        try:
            if self._loaded.uses != self._uses:
                # A job came and went between two looks.
                self._uses, self._since = self._loaded.uses, self._clock()
            if self._clock() - self._since < self._idle_s:
                return False
            became = self._loaded.unload()
        except DeviceFault as error:
            # Under the lock still: the next job would be the one to find that out.
            log.critical("an idle base was not unloaded: %s", error)
            self._end()
            return False
        except LoraJobsError as error:
            log.warning("an idle base was not unloaded: %s", error.detail)
            return False
        finally:
            self._busy.release()
        if became:
            log.info("%g s without a job: the base is %s, its GPU free", self._idle_s, became)
        return bool(became)

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._idle_s / LOOKS):
            self.look()
