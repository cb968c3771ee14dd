"""The parent of a worker exchanges a ticket for a job: it looks, chooses and claims."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lorajobs.base_choice import Candidate, choose_base
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.jobs import Job, group_of, shas_of
from lorajobs.metrics import WorkerMetrics
from lorajobs.policy import SwapCost, choose
from lorajobs.settings import Settings
from lorajobs.snapshot import Snapshot, WaitingJob
from lorajobs.store import LeaseStore, Rescuing, Workers, WorkerState
from lorajobs.tickets import TicketQueue
from lorajobs.worker_page import WorkerPage

#: How often a claim chooses anew when another worker took its job first.
CHOICES = 3
#: Jobs that went to other workers are never forgotten one by one.
REMEMBERED = 1000
#: What an adapter costs from host memory and from the page cache of the disk, seconds; as
#: `make bench-swap` measures them, and only their order matters.
HOST_S, DISK_S = 0.005, 0.06
#: No group has this name, so nothing of a base that is not loaded counts as applied.
NOTHING_APPLIED = "-"


class AdaptersOnTheWay(Exception):
    """Jobs wait, but the adapters of none of them are on this machine yet."""


class BaseElsewhere(Exception):
    """Jobs wait, but only for bases that other workers have loaded."""


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
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    #: set while the worker takes no jobs
    draining: threading.Event = field(default_factory=threading.Event)
    #: when each job was first found waiting for its adapters, by the monotonic clock
    _asked: dict[str, float] = field(default_factory=dict)

    def claim(self, ticket: str, queue: str) -> Job | None:
        """Claims the best waiting job for this ticket of this queue; None if nothing waits.

        Raises: AdaptersOnTheWay, BaseElsewhere, StoreUnavailable.
        """
        for _ in range(CHOICES):
            entry, chosen = self._choose(queue)
            job_id = chosen.id if chosen else None
            # A job of another base leaves this queue with a job more than it has tickets.
            is_other = entry.queue != queue
            pushed = self.queue.envelope(queue) if is_other else None
            lease = self.store.claim(entry.id, job_id, self.name, ticket, pushed)
            if lease is not None:
                if is_other and pushed is None:
                    self.queue.publish(queue)
                self._asked.pop(lease.job_id, None)
                return self.store.get(lease.job_id)
            if chosen is None:
                return None
        return None

    @property
    def base(self) -> str:
        """The id of the base that is loaded, or will be."""
        return self.page.base() or self.entries[0].id

    def is_draining(self) -> bool:
        """True if the worker takes no jobs: an operator said so, or it shuts down."""
        return self.draining.is_set() or self.page.is_stopping()

    def _choose(self, queue: str) -> tuple[ModelEntry, WaitingJob | None]:
        cost_s = self._costs()
        if len(self.entries) == 1:
            (entry,) = self.entries
            chosen = choose(self._snapshot(entry), entry.window_us, cost_s)
            if chosen and not self._may_run(chosen, cost_s):
                raise AdaptersOnTheWay
            return entry, chosen
        now_us = time.time_ns() // 1000
        others = [worker for worker in self.workers.workers() if worker.name != self.name]
        found: Mapping[str, Candidate] = {
            entry.id: candidate
            for entry in self.entries
            if (candidate := self._candidate(entry, others, cost_s))
        }
        entries = {entry.id: entry for entry in self.entries}
        runnable = [c for c in found.values() if self._may_run(c.job, cost_s)]
        if runnable:
            taken = choose_base(runnable, now_us)
            if taken is None:
                raise BaseElsewhere
            return entries[taken.model], taken.job
        if found:
            raise AdaptersOnTheWay
        return next(entry for entry in self.entries if entry.queue == queue), None

    def _snapshot(self, entry: ModelEntry) -> Snapshot:
        loaded = NOTHING_APPLIED
        if entry.id == self.base:
            loaded = group_of((lora.sha256, lora.scale) for lora in self.page.loaded())
        return self.store.snapshot(entry.id, self.name, loaded)

    def _candidate(
        self, entry: ModelEntry, others: Sequence[WorkerState], cost_s: SwapCost
    ) -> Candidate | None:
        snapshot = self._snapshot(entry)
        chosen = choose(snapshot, entry.window_us, cost_s)
        if chosen is None:
            return None
        warm = [worker for worker in others if worker.model == entry.id and worker.takes_jobs]
        change_us = max(1, int(1_000_000 * self.page.load_s(entry.id)))
        return Candidate(
            model=entry.id,
            job=chosen,
            since_us=snapshot.turns[0].since_us,
            change_us=0 if entry.id == self.base else change_us,
            window_us=entry.window_us,
            elsewhere=len(warm),
            idle_elsewhere=sum(worker.job_id is None for worker in warm),
        )

    def _costs(self) -> SwapCost:
        """What applying a group costs: from host memory, from the disk, or not yet."""
        resident = self.page.resident()

        def cost_s(group: str) -> float | None:
            needed = shas_of(group)
            # The attempt holds the file, whatever is in memory.
            if not all(self.is_here(sha256) for sha256 in needed):
                return None
            return sum(HOST_S if sha256 in resident else DISK_S for sha256 in needed)

        return cost_s

    def _may_run(self, chosen: WaitingJob, cost_s: SwapCost) -> bool:
        """False while its adapters are on the way; a fetcher that gets nowhere is given up."""
        if cost_s(chosen.group) is not None:
            return True
        now = time.monotonic()
        if len(self._asked) > REMEMBERED:
            self._asked.clear()
        asked = self._asked.setdefault(chosen.id, now)
        # It refused nothing either: the attempt itself finds out.
        return now - asked >= self.settings.fetch_timeout_s
