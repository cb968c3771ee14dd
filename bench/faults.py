"""Kills and freezes parts of the line at random, and repairs them a little later."""

import heapq
import itertools
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from bench.arena import LEASE_S, STEP_TIMEOUT_S, Arena, Slot, signal_group
from tests.services.line import children_of

log = logging.getLogger(__name__)

#: Seconds that a killed process stays away.
RESTART_S = (0.0, 0.5)
OUTAGE_S = (0.2, 3.0)
#: Seconds that a frozen process stays frozen after others have given it up.
OVERTIME_S = (0.5, 2.0)


class Faults:
    """Does one fault at a time, each kind in turn, in an order that the seed decides."""

    def __init__(self, arena: Arena, rng: random.Random) -> None:
        #: faults done so far, by kind
        self.done: Counter[str] = Counter()
        self._arena = arena
        self._rng = rng
        self._repairs: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        # Each with how often it comes in one round of the deck.
        self._kinds: dict[Callable[[], bool], int] = {
            self.worker: 3,
            self.child: 3,
            self.parent: 1,
            self.frozen_worker: 1,
            self.frozen_child: 1,
            self.api: 1,
            self.courier: 1,
            self.broker: 2,
        }
        self._deck: list[Callable[[], bool]] = []

    def inflict(self) -> bool:
        """Does the next fault; False if nothing that it could hit is up."""
        if not self._deck:
            counts = list(self._kinds.values())
            self._deck = self._rng.sample(list(self._kinds), sum(counts), counts=counts)
        if not self._deck[-1]():
            return False
        kind = self._deck.pop().__name__
        self.done[kind] += 1
        log.info("done: %s", kind)
        return True

    def repair(self) -> None:
        """Does every repair that is due."""
        while self._repairs and self._repairs[0][0] <= time.monotonic():
            _, number, repair = heapq.heappop(self._repairs)
            repair()
            log.info("repaired: the %d.", number + 1)

    @property
    def repaired(self) -> bool:
        """True while nothing waits for its repair."""
        return not self._repairs

    def _later(self, seconds: float, repair: Callable[[], None]) -> None:
        due = time.monotonic() + seconds
        heapq.heappush(self._repairs, (due, next(self._order), repair))

    def _worker(self) -> Slot | None:
        """A worker that another one can stand in for, so that the line never stands still."""
        able = [slot for slot in self._arena.workers if slot.able]
        up = [slot for slot in self._arena.workers if slot.up and able not in ([], [slot])]
        return self._rng.choice(up) if up else None

    # Kills

    def worker(self) -> bool:
        """Kills a whole worker."""
        return self._kill(self._worker())

    def parent(self) -> bool:
        """Kills a worker's parent alone; its child must notice."""
        return self._kill(self._worker(), alone=True)

    def api(self) -> bool:
        """Kills the API."""
        return self._kill(self._arena.api)

    def courier(self) -> bool:
        """Kills the courier."""
        return self._kill(self._arena.courier)

    def _kill(self, slot: Slot | None, *, alone: bool = False) -> bool:
        if slot is None or not slot.up:
            return False
        slot.up = False
        log.info("%s, %d", slot.name, slot.process.pid)
        if alone:
            slot.process.kill()
        else:
            signal_group(slot.process, signal.SIGKILL)
        slot.process.wait()
        self._later(self._rng.uniform(*RESTART_S), lambda: self._arena.replace(slot))
        return True

    def child(self) -> bool:
        """Kills a worker's child; the parent makes another."""
        slot, child = self._child()
        if slot is None:
            return False
        os.kill(child, signal.SIGKILL)
        slot.since = time.monotonic()
        return True

    def broker(self) -> bool:
        """Kills the broker, which is the store too; it returns with its data."""
        # Not again before somebody has worked.
        if self._arena.broker.pid is None or not any(slot.able for slot in self._arena.workers):
            return False
        self._arena.broker.kill()
        self._later(self._rng.uniform(*OUTAGE_S), self._arena.return_broker)
        return True

    def _child(self) -> tuple[Slot, int] | tuple[None, int]:
        slot = self._worker()
        if slot is None:
            return None, 0
        children = children_of(slot.process.pid)
        if not children:
            return None, 0
        log.info("%s, child of %d", slot.name, slot.process.pid)
        return slot, self._rng.choice(children)

    # Freezes

    def frozen_worker(self) -> bool:
        """Stops a whole worker for longer than its lease, then lets it go on."""
        slot = self._worker()
        if slot is None:
            return False
        slot.up = False
        log.info("%s, %d", slot.name, slot.process.pid)
        signal_group(slot.process, signal.SIGSTOP)

        def thaw() -> None:
            signal_group(slot.process, signal.SIGCONT)
            slot.up, slot.since = True, time.monotonic()

        self._later(LEASE_S + self._rng.uniform(*OVERTIME_S), thaw)
        return True

    def frozen_child(self) -> bool:
        """Stops a worker's child alone for longer than its parent waits for a sign of life."""
        slot, child = self._child()
        if slot is None:
            return False
        slot.up = False
        os.kill(child, signal.SIGSTOP)

        def thaw() -> None:
            # Unless it was killed meanwhile, as it should be.
            if child in children_of(slot.process.pid):
                os.kill(child, signal.SIGCONT)
            slot.up, slot.since = True, time.monotonic()

        self._later(STEP_TIMEOUT_S + self._rng.uniform(*OVERTIME_S), thaw)
        return True
