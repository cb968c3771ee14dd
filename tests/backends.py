"""The job stores under test, each with a hand on its clock and an eye into it."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from lorajobs.events import EventLog
from lorajobs.redis_client import connect
from lorajobs.redis_events import LONGEST_BLOCK_S, RedisEvents
from lorajobs.redis_store import RedisJobStore
from lorajobs.store import Housekeeping, JobStore, LeaseStore, QueueRules, Workers
from lorajobs.testing import ManualClock, MemoryJobStore

#: Long, so that on a slow machine no lease runs out by itself.
LEASE_S = 50.0
MAX_ATTEMPTS = 3
RULES = QueueRules(lease_s=LEASE_S, max_attempts=MAX_ATTEMPTS)


class Store(JobStore, LeaseStore, Housekeeping, Workers, Protocol):
    """Everything at once."""


class Backend(ABC):
    """A store, and what only its tests may do with it."""

    store: Store
    events: EventLog
    #: a ticket that `pushed` counts
    ticket: Mapping[str, str]

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Brings every deadline nearer, as if time had passed."""

    @abstractmethod
    def tick(self) -> None:
        """Lets the next moment be another one."""

    @abstractmethod
    def pushed(self) -> int:
        """How many tickets the store has pushed."""

    @abstractmethod
    def outbox(self) -> set[str]:
        """The ids of the deliveries that are not settled."""

    @abstractmethod
    def forget_events(self, job_id: str) -> None:
        """Drops a job's events, as a day after the last one."""

    @abstractmethod
    def close(self) -> None:
        """Leaves nothing behind."""

    def expire_leases(self) -> None:
        """Lets every lease run out."""
        self.advance(LEASE_S + 1)

    def make_due(self) -> None:
        """Lets every delay and every delivery come due."""
        self.advance(3600)


class MemoryBackend(Backend):
    """The store in memory, on a clock moved by hand."""

    ticket: Mapping[str, str] = {"queue": "base.demo", "message": "{}"}

    def __init__(self, rules: QueueRules = RULES) -> None:
        self._clock = ManualClock()
        self.memory = MemoryJobStore(rules, self._clock)
        self.store = self.memory
        self.events = self.memory

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def tick(self) -> None:
        self._clock.advance(0.001)

    def pushed(self) -> int:
        return len(self.memory.tickets)

    def outbox(self) -> set[str]:
        return set(self.memory.outbox)

    def forget_events(self, job_id: str) -> None:
        self.memory.forget_events(job_id)

    def close(self) -> None:
        pass


class RedisBackend(Backend):
    """The store on a real server, below a prefix of its own."""

    #: the indexes whose scores are deadlines
    DEADLINES = ("leases", "delayed", "outbox", "hosts", "deadlines", "kept")

    def __init__(self, url: str, rules: QueueRules = RULES) -> None:
        self.client: Any = connect(url)
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"
        store = RedisJobStore(self.client, rules, self.prefix)
        # Rescue waits out one lease after a restart of the server; one of 0 s waits for nothing.
        impatient = RedisJobStore(self.client, rules._replace(lease_s=0), self.prefix)
        store.rescue = impatient.rescue  # type: ignore[method-assign]
        self.store = store
        self._listening = connect(url, timeout_s=LONGEST_BLOCK_S + 5, connections=8)
        self.events = RedisEvents(self._listening, self.prefix)
        self.ticket = {"queue": f"{self.prefix}.base.demo", "message": "{}"}

    def advance(self, seconds: float) -> None:
        by_host = [*self.client.keys(f"{self.prefix}:hooks:*")]
        by_host += self.client.keys(f"{self.prefix}:sending:*")
        for key in [*(f"{self.prefix}:{index}" for index in self.DEADLINES), *by_host]:
            for member in self.client.zrange(key, 0, -1):
                self.client.zincrby(key, -seconds * 1000, member)

    def tick(self) -> None:
        pass

    def pushed(self) -> int:
        return int(self.client.llen(self.ticket["queue"]))

    def outbox(self) -> set[str]:
        return set(self.client.zrange(f"{self.prefix}:outbox", 0, -1))

    def forget_events(self, job_id: str) -> None:
        self.client.delete(f"{self.prefix}:events:{job_id}")

    def close(self) -> None:
        if names := self.client.keys(f"{self.prefix}*"):
            self.client.delete(*names)
        self.client.close()
        self._listening.close()
