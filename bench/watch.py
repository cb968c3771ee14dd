"""Watches from the store which workers run jobs, to find one that lives and does nothing."""

import re
import time
from collections.abc import Sequence

from bench.arena import Slot
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_store import RedisJobStore


class Watch:
    """How long each worker was idle although it was up and jobs waited."""

    def __init__(self, url: str, store: RedisJobStore, slots: Sequence[Slot]) -> None:
        #: the longest that any worker was idle, seconds
        self.idle_max_s = 0.0
        self._redis = connect(url)
        self._store = store
        self._slots = slots
        self._nothing_to_do = 0.0

    def look(self) -> None:
        """Notes who runs a job now, at best several times in the life of a job.

        Raises: StoreUnavailable.
        """
        with translated():
            running: list[str] = self._redis.zrange(f"{PREFIX}:leases", 0, -1)  # type: ignore[assignment]
        names = [self._store.get(job_id).worker or "" for job_id in running]
        pids = {int(found[1]) for name in names if (found := re.search(r"-(\d+)@", name))}
        now = time.monotonic()
        if not sum(self._store.backlog().values()):
            self._nothing_to_do = now
        for slot in self._slots:
            if slot.process.pid in pids:
                slot.active = now
            if slot.up:
                idle_s = now - max(slot.active, slot.since, self._nothing_to_do)
                self.idle_max_s = max(self.idle_max_s, idle_s)
