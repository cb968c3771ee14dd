"""The job store in memory: the same verbs and the same contract suite as the one on Redis."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lorajobs.errors import JobNotFinished, QueueFull, WorkerLost
from lorajobs.events import PROGRESS
from lorajobs.jobs import TRANSITIONS, Job, JobError, JobStatus, Lease, Outcome
from lorajobs.place import NOBODY, Crew, Place, Submitted
from lorajobs.snapshot import SNAPSHOT_LIMIT, Snapshot
from lorajobs.store import DEFAULT_RULES, LATE, Progress, QueueRules, Rescued, Signal, Trade
from lorajobs.terms import DEFAULT_TERMS, Terms
from lorajobs.testing.entry import Entry
from lorajobs.testing.memory_jobs import MemoryJobs
from lorajobs.testing.memory_queue import MemoryQueue
from lorajobs.testing.memory_usage import MemoryUsage


@dataclass
class MemoryJobStore(MemoryJobs):
    """JobStore, LeaseStore, Housekeeping and Workers in one process, without durability."""

    rules: QueueRules = DEFAULT_RULES
    clock_ms: Callable[[], int] = field(default=lambda: int(time.time() * 1000))

    def __post_init__(self) -> None:
        super().__init__()
        self._claims: dict[str, tuple[str, Lease]] = {}
        self._service_s: dict[str, float] = {}
        self._queue = MemoryQueue(self.rules, self.clock_ms)
        self.used = MemoryUsage(self.clock_ms)
        #: every ticket pushed, oldest first
        self.tickets: list[Mapping[str, str]] = []

    # The API's side

    def submit(
        self,
        job: Job,
        ticket: Mapping[str, str] | None,
        *,
        window_us: int = 0,
        crew: Crew = NOBODY,
        terms: Terms = DEFAULT_TERMS,
    ) -> Submitted:
        with self.lock:
            earlier = self.earlier(terms.once) if terms.once else None
            known = earlier or (self._entries[job.id].job if job.id in self._entries else None)
            if known:
                place = self.place(known.id, window_us)
                return Submitted(known.created_ms, False, place, known.id)
            self._require_room(job, terms)
            told = {"created_ms": self.clock_ms(), "steps": job.spec.all_steps}
            queued = job.model_copy(update=told)
            entry = self._entries[job.id] = Entry(queued)
            self._push(ticket)
            self.happened(job.id, JobStatus.QUEUED)
            place = self.place(job.id, window_us)
            predicted_s = place.starts_in_s(crew) if place else None
            entry.job = queued.model_copy(update={"predicted_s": predicted_s})
            if terms.once:
                self.remember(terms.once, job.id)
            return Submitted(queued.created_ms, True, place, job.id)

    def outlook(self, job: Job, window_us: int, terms: Terms = DEFAULT_TERMS) -> Place:
        with self.lock:
            self._require_room(job, terms)
            entry = Entry(job.model_copy(update={"created_ms": self.clock_ms()}))
            waiting = self._in_order([*self._waiting(job.spec.model), entry])
            service_s = self._service_s.get(job.spec.model)
            return self._queue.place(entry, waiting, window_us, service_s)

    def _require_room(self, job: Job, terms: Terms) -> None:
        waiting = self._waiting(job.spec.model)
        if len(waiting) >= self.rules.max_waiting:
            raise QueueFull(f"{self.rules.max_waiting:,} jobs wait already")
        own = sum(entry.job.spec.owner == job.spec.owner for entry in waiting)
        limit = self.rules.most_of_key(terms)
        if job.spec.owner and own >= limit:
            raise QueueFull(f"{limit:,} jobs of this API key wait already")

    def cancel(self, job_id: str) -> Job:
        with self.lock:
            entry = self._entry(job_id)
            if entry.job.status is JobStatus.QUEUED:
                self._end(entry, JobStatus.CANCELED)
            elif entry.job.status is JobStatus.RUNNING:
                entry.job = entry.job.model_copy(update={"cancel_requested": True})
            return entry.job

    def delete(self, job_id: str) -> None:
        with self.lock:
            job = self._entry(job_id).job
            if not job.status.is_terminal:
                raise JobNotFinished("the job still waits or runs; cancel it first")
            del self._entries[job_id]
            self.forget_events(job_id)
            self.forget_deliveries(job_id)

    def place(self, job_id: str, window_us: int) -> Place | None:
        with self.lock:
            entry = self._entries.get(job_id)
            if entry is None or entry.job.status is not JobStatus.QUEUED:
                return None
            waiting = self._waiting(entry.job.spec.model)
            service = self._service_s.get(entry.job.spec.model)
            if entry not in waiting:
                return Place(len(waiting), len(waiting), True, service)
            return self._queue.place(entry, waiting, window_us, service)

    # The worker's side

    def snapshot(
        self, model: str, worker: str = "", loaded: str = "", limit: int = SNAPSHOT_LIMIT
    ) -> Snapshot:
        with self.lock:
            alive = {w.name for w in self.workers() if w.takes_jobs} - {worker}
            return self._queue.snapshot(model, self._waiting(model), loaded, alive, limit)

    def claim(
        self,
        model: str,
        job_id: str | None,
        worker: str,
        ticket: str,
        trade: Trade | None = None,
    ) -> Job | None:
        with self.lock:
            earlier = self._claims.get(worker)
            if earlier and earlier[0] == ticket and self._owned(earlier[1]):
                return self._entries[earlier[1].job_id].job
            entry = self._entries.get(job_id or "")
            if entry is None or entry not in self._waiting(model):
                return None
            if entry.is_late(self.clock_ms()):
                self._end(entry, JobStatus.EXPIRED, LATE)
                return None
            attempt = entry.job.attempt + 1
            self._move(
                entry,
                JobStatus.RUNNING,
                attempt=attempt,
                worker=worker,
                started_ms=self.clock_ms(),
                step=0,
            )
            entry.lease_ends_ms = self.clock_ms() + int(self.rules.lease_s * 1000)
            self._claims[worker] = (ticket, entry.job.lease)
            self._queue.take(entry, worker)
            if attempt == 1:
                self.announce(entry.job, "started")
            self._trade(trade)
            return entry.job

    def refuse(self, job_id: str, error: JobError, by: str = "", of: int = 1) -> bool:
        with self.lock:
            entry = self._entries.get(job_id)
            if entry is None or entry.job.status is not JobStatus.QUEUED:
                return False
            if by:
                entry.refused_by.add(by)
                if len(entry.refused_by) < of:
                    return False
            self._end(entry, JobStatus.FAILED, error)
            return True

    def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
        with self.lock:
            entry = self._owned(lease)
            if entry is None:
                return Signal.LOST
            entry.lease_ends_ms = self.clock_ms() + int(self.rules.lease_s * 1000)
            if progress is not None:
                self.mark_stage(entry.job, progress.stage)
                entry.job = entry.job.model_copy(update=progress._asdict())
                self.happened(lease.job_id, PROGRESS, **progress._asdict())
                self.announce_progress(entry.job)
            return Signal.CANCEL if entry.job.cancel_requested else Signal.GO_ON

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        with self.lock:
            entry = self._owned(lease)
            if entry is None:
                known = self._entries.get(lease.job_id)
                return bool(
                    known
                    and known.job.status is outcome.status
                    and known.job.attempt == lease.attempt
                )
            done = outcome.status is JobStatus.SUCCEEDED
            if done and entry.job.started_ms is not None:
                took = (self.clock_ms() - entry.job.started_ms) / 1000
                took = max(0.0, took - (outcome.metrics.upload_s or 0))
                model = entry.job.spec.model
                mean = self._service_s.get(model, took)
                self._service_s[model] = mean + 0.2 * (took - mean)
            entry.job = entry.job.model_copy(
                update={
                    "applied_loras": outcome.applied_loras,
                    "outputs": outcome.outputs,
                    "warnings": outcome.warnings,
                    "metrics": outcome.metrics,
                    "step": entry.job.steps if done else entry.job.step,
                }
            )
            self._end(entry, outcome.status, outcome.error)
            self.used.add(entry.job, outcome)
            return True

    def requeue(
        self,
        lease: Lease,
        error: JobError,
        *,
        delay_s: float = 0,
        refund: bool = False,
        ticket: Mapping[str, str] | None = None,
    ) -> JobStatus | None:
        with self.lock:
            entry = self._owned(lease)
            if entry is None:
                return None
            entry.refunded += refund
            status = self._put_back(entry, error, delay_s)
            if status is JobStatus.QUEUED and not delay_s:
                self._push(ticket)
            return status

    # The courier's side

    def rescue(self) -> Rescued:
        again: Counter[str] = Counter()
        ended = 0
        error = WorkerLost("the worker died on every attempt").as_job_error()
        with self.lock:
            now = self.clock_ms()
            for entry in list(self._entries.values()):
                if entry.job.status is JobStatus.RUNNING and entry.lease_ends_ms <= now:
                    self.used.past[entry.job.spec.model, "lost", ""] += 1
                    if self._put_back(entry, error, 0) is JobStatus.QUEUED:
                        again[entry.job.spec.model] += 1
                    else:
                        ended += 1
                elif entry.is_late(now):
                    self._end(entry, JobStatus.EXPIRED, LATE)
                    ended += 1
                elif entry.job.status is JobStatus.QUEUED and 0 < entry.ready_ms <= now:
                    entry.ready_ms = 0
                    again[entry.job.spec.model] += 1
        return Rescued(again, ended)

    def _owned(self, lease: Lease) -> Entry | None:
        entry = self._entries.get(lease.job_id)
        if entry is None or entry.job.status is not JobStatus.RUNNING:
            return None
        return entry if entry.job.attempt == lease.attempt else None

    def _trade(self, trade: Trade | None) -> None:
        if trade is None:
            return
        self._push(trade.given)
        other = next((t for t in self.tickets if t["queue"] == trade.taken), None)
        if other is not None:
            self.tickets.remove(other)

    def _push(self, ticket: Mapping[str, str] | None) -> None:
        if ticket is not None:
            self.tickets.append(ticket)

    def _move(self, entry: Entry, status: JobStatus, **fields: object) -> None:
        before = entry.job
        assert status in TRANSITIONS[before.status], (before.status, status)
        entry.job = entry.job.model_copy(update={"status": status, **fields})
        running = status is JobStatus.RUNNING
        self.mark_move(before, entry.job)
        self.happened(entry.job.id, status, **({"attempt": entry.job.attempt} if running else {}))

    def _end(self, entry: Entry, status: JobStatus, error: JobError | None = None) -> None:
        entry.ready_ms = 0
        self._move(entry, status, completed_ms=self.clock_ms(), stage=None, error=error)
        self.announce(entry.job, status.value)
        self.used.past[entry.job.spec.model, status.value, error.code if error else ""] += 1

    def _put_back(self, entry: Entry, error: JobError, delay_s: float) -> JobStatus:
        if entry.job.cancel_requested:
            self._end(entry, JobStatus.CANCELED)
        elif entry.job.attempt - entry.refunded >= self.rules.max_attempts:
            self._end(entry, JobStatus.FAILED, error)
        else:
            self._move(entry, JobStatus.QUEUED, stage=None, step=0, worker=None)
            entry.ready_ms = self.clock_ms() + int(delay_s * 1000) if delay_s else 0
        return entry.job.status
