"""Watches from the store which workers run jobs, to find one that lives and does nothing."""

import re
import time

from bench.arena import Slot
from lorajobs.redis_client import connect, translated
from lorajobs.redis_store import PREFIX, RedisJobStore


class Watch:
    """How long each worker was idle although it was up and jobs waited."""

    def __init__(self, url: str, store: RedisJobStore, slots: list[Slot]) -> None:
        #: the longest that any worker was idle, seconds
        self.idle_max_s = 0.0
        self._redis = connect(url)
        self._store = store
        self._slots = slots
        self._active: dict[int, float] = {}

    def look(self) -> None:
        """Notes who runs a job now, at best several times in the life of a job.

        Raises: StoreUnavailable.
        """
        with translated():
            running: list[str] = self._redis.zrange(f"{PREFIX}:leases", 0, -1)  # type: ignore[assignment]
        waiting = sum(self._store.backlog().values())
        now = time.monotonic()
        for job_id in running:
            name = re.search(r"-(\d+)@", self._store.get(job_id).worker or "")
            if name:
                self._active[int(name[1])] = now
        for slot in self._slots:
            if not slot.up or not waiting:
                self._active[slot.process.pid] = now
            self.idle_max_s = max(self.idle_max_s, now - self._since(slot))

    def all_active_since(self, moment: float) -> bool:
        """True if every worker has been seen running a job after this moment."""
        return all(self._active.get(slot.process.pid, 0) > moment for slot in self._slots)

    def _since(self, slot: Slot) -> float:
        return max(slot.since, self._active.get(slot.process.pid, 0.0))

    def close(self) -> None:
        """Closes the connection."""
        self._redis.close()
