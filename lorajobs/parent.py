"""The parent of a worker exchanges a ticket for a job: it looks, chooses and claims."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from lorajobs.adapters.census import Census
from lorajobs.base_choice import Candidate, choose_base
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.groups import group_of, shas_of
from lorajobs.jobs import Job
from lorajobs.policy import SwapCost, choose
from lorajobs.settings import Settings
from lorajobs.snapshot import SNAPSHOT_LIMIT, Snapshot, WaitingJob
from lorajobs.store import LeaseStore, Rescuing, Trade, Workers, WorkerState
from lorajobs.store_errors import RecordUnreadable
from lorajobs.tickets import TicketQueue
from lorajobs.worker_metrics import WorkerMetrics
from lorajobs.worker_page import WorkerPage

#: How often a claim chooses anew when another worker took its job first.
CHOICES = 3
#: Groups of which it is remembered since when they wait for their adapters.
REMEMBERED = 4096
#: Groups that are looked at if of the usual few none can run here.
WIDE = 1024
#: Seconds until a job whose record cannot be read may be claimed again.
UNREADABLE_S = 5.0
#: What an adapter costs from host memory and from the page cache of the disk, seconds; as
#: `make bench-swap` measures them, and only their order matters.
HOST_S, DISK_S = 0.005, 0.06
#: No group has this name, so nothing of a base that is not loaded counts as applied.
NOTHING_APPLIED = "-"


class Held(Exception):
    """Jobs wait, but this worker can take none just now; its ticket stays."""

    reason = "lost"


class AdaptersOnTheWay(Held):
    """The adapters of none of them are on this machine yet."""

    reason = "adapters"


class BaseElsewhere(Held):
    """They need bases that other workers have loaded; `idle` if one of these does nothing."""

    reason = "base"

    def __init__(self, *, idle: bool) -> None:
        super().__init__()
        self.idle = idle


@dataclass(frozen=True, kw_only=True)
class Parent:
    """What the parent process of one worker works with."""

    settings: Settings
    name: str
    #: the bases that it serves; the first is loaded at its start
    entries: Sequence[ModelEntry]
    store: LeaseStore
    workers: Workers
    rescuing: Rescuing
    catalog: Catalog
    queue: TicketQueue
    page: WorkerPage
    #: True if the adapter of this hash is on this machine's disk
    is_here: Callable[[str], bool]
    #: what is on this machine's disk
    census: Callable[[], Census]
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    #: set while the worker takes no jobs
    draining: threading.Event = field(default_factory=threading.Event)
    #: when each group was first and last found waiting for its adapters, by the monotonic clock
    _asked: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def claim(self, ticket: str, queue: str) -> Job | None:
        """Claims the best waiting job for this ticket of this queue; None if nothing waits.

        Raises: Held, RecordUnreadable, StoreUnavailable.
        """
        for _ in range(CHOICES):
            entry, chosen = self._choose(queue)
            job_id = chosen.id if chosen else None
            # A job of another base leaves this queue with a job more than it has tickets.
            is_other = entry.queue != queue
            given = self.queue.envelope(queue) if is_other else None
            trade = Trade(given, entry.queue) if given else None
            job = self._take(entry.id, job_id, ticket, trade)
            if job is not None:
                if is_other and given is None:
                    self.queue.publish(queue)
                return job
            if chosen is None:
                return None
        raise Held

    def _take(self, model: str, job_id: str | None, ticket: str, trade: Trade | None) -> Job | None:
        try:
            return self.store.claim(model, job_id, self.name, ticket, trade)
        except RecordUnreadable as error:
            if error.lease:
                # Others may be of the version that wrote it.
                failure = error.as_job_error()
                self.store.requeue(error.lease, failure, delay_s=UNREADABLE_S, refund=True)
            raise

    @property
    def base(self) -> str:
        """The id of the base that is loaded, empty if none is."""
        return self.page.base()

    @property
    def shown_base(self) -> str:
        """The same, or the one that is loaded first."""
        return self.base or self.entries[0].id

    def is_draining(self) -> bool:
        """True if the worker takes no jobs: an operator said so, or it shuts down."""
        return self.draining.is_set() or self.page.is_stopping()

    def _choose(self, queue: str) -> tuple[ModelEntry, WaitingJob | None]:
        cost_s = self._costs()
        others: Sequence[WorkerState] = ()
        if len(self.entries) > 1:
            others = [worker for worker in self.workers.workers() if worker.name != self.name]
        found = [c for entry in self.entries if (c := self._candidate(entry, others, cost_s))]
        runnable = [c for c in found if cost_s(c.job.group) is not None]
        if not found:
            return next(entry for entry in self.entries if entry.queue == queue), None
        # While the loaded base's own adapters are on the way, another base has time.
        soon = any(not c.change_us for c in found if c not in runnable)
        taken = choose_base(runnable, soon=soon)
        if taken is not None:
            return next(entry for entry in self.entries if entry.id == taken.model), taken.job
        if soon or not runnable:
            raise AdaptersOnTheWay
        raise BaseElsewhere(idle=any(c.idle_elsewhere for c in runnable))

    def _look(
        self, entry: ModelEntry, cost_s: SwapCost, limit: int = SNAPSHOT_LIMIT
    ) -> tuple[Snapshot, WaitingJob | None]:
        """The queue of one base, and the job to take next."""
        loaded = NOTHING_APPLIED
        if entry.id == self.base:
            loaded = group_of((lora.key, lora.scale) for lora in self.page.loaded())
        snapshot = self.store.snapshot(entry.id, self.name, loaded, limit)
        chosen = choose(snapshot, entry.window_us, cost_s)
        is_here = chosen is not None and cost_s(chosen.group) is not None
        if not is_here and limit < WIDE and snapshot.is_cut(limit):
            # Behind all that is on its way something may be here.
            return self._look(entry, cost_s, WIDE)
        return snapshot, chosen

    def _candidate(
        self, entry: ModelEntry, others: Sequence[WorkerState], cost_s: SwapCost
    ) -> Candidate | None:
        snapshot, chosen = self._look(entry, cost_s)
        if chosen is None:
            return None
        warm = [w for w in others if w.model == entry.id and w.state == "warm"]
        change_us = max(1, int(1_000_000 * self.page.load_s(entry.id)))
        return Candidate(
            model=entry.id,
            job=chosen,
            now_us=snapshot.now_us,
            since_us=snapshot.turns[0].since_us,
            change_us=0 if entry.id == self.base else change_us,
            window_us=entry.window_us,
            elsewhere=len(warm),
            idle_elsewhere=sum(worker.job_id is None for worker in warm),
        )

    def _costs(self) -> SwapCost:
        """What applying a group costs: from host memory, from the disk, or not yet."""
        resident = self.page.resident()

        # Asked for several times in one choice, and each time it looks at the disk.
        @cache
        def cost_s(group: str) -> float | None:
            needed = shas_of(group)
            # The attempt holds the file, whatever is in memory.
            if not all(self.is_here(sha256) for sha256 in needed):
                return self._awaited(group)
            return sum(HOST_S if sha256 in resident else DISK_S for sha256 in needed)

        return cost_s

    def _awaited(self, group: str) -> float | None:
        """None while the fetcher may still bring it; then the attempt itself finds out."""
        now, timeout_s = time.monotonic(), self.settings.fetch_timeout_s
        first, last = self._asked.pop(group, (now, now))
        if now - last > timeout_s:
            # Nothing waited for it meanwhile.
            first = now
        self._asked[group] = first, now
        if len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)
        return timeout_s if now - first >= timeout_s else None
