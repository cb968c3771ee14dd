"""The job store in memory: the same verbs and the same contract suite as the one on Redis."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lorajobs.errors import JobNotFinished, JobNotFound, WorkerLost
from lorajobs.jobs import TRANSITIONS, Job, JobError, JobStatus, Lease, Outcome
from lorajobs.store import (
    Delivery,
    JobFilter,
    JobPage,
    Progress,
    Rescued,
    Signal,
    Snapshot,
    WaitingGroup,
    WaitingJob,
    WorkerState,
)


@dataclass
class _Entry:
    job: Job
    refunded: int = 0
    lease_ends_ms: int = 0
    ready_ms: int = 0


@dataclass
class _Webhook:
    delivery: Delivery
    due_ms: int


@dataclass
class MemoryJobStore:
    """JobStore, LeaseStore, Housekeeping and Workers in one process, without durability."""

    lease_s: float = 6.0
    max_attempts: int = 3
    clock_ms: Callable[[], int] = field(default=lambda: int(time.time() * 1000))

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        self._claims: dict[str, tuple[str, Lease]] = {}
        self._loaded: dict[str, dict[str, str]] = {}
        self._outbox: dict[str, _Webhook] = {}
        self._workers: dict[str, tuple[WorkerState, int]] = {}
        #: every ticket pushed, oldest first
        self.tickets: list[Mapping[str, str]] = []

    # The API's side

    def submit(self, job: Job, ticket: Mapping[str, str] | None) -> bool:
        with self._lock:
            if job.id in self._entries:
                return False
            steps = job.spec.num_inference_steps * job.spec.num_images
            queued = job.model_copy(update={"created_ms": self.clock_ms(), "steps": steps})
            self._entries[job.id] = _Entry(queued)
            self._push(ticket)
            return True

    def get(self, job_id: str) -> Job:
        with self._lock:
            return self._entry(job_id).job

    def page(self, where: JobFilter, limit: int, cursor: str | None) -> JobPage:
        with self._lock:
            jobs = sorted(
                (e.job for e in self._entries.values() if where.matches(e.job)),
                key=lambda job: (job.created_ms, job.id),
                reverse=True,
            )
        if cursor is not None:
            created, _, job_id = cursor.partition("-")
            last_seen = (int(created), job_id)
            jobs = [job for job in jobs if (job.created_ms, job.id) < last_seen]
        more = len(jobs) > limit
        last = jobs[limit - 1] if more else None
        return JobPage(jobs[:limit], f"{last.created_ms}-{last.id}" if last else None)

    def cancel(self, job_id: str) -> Job:
        with self._lock:
            entry = self._entry(job_id)
            if entry.job.status is JobStatus.QUEUED:
                self._end(entry, JobStatus.CANCELED)
            elif entry.job.status is JobStatus.RUNNING:
                entry.job = entry.job.model_copy(update={"cancel_requested": True})
            return entry.job

    def delete(self, job_id: str) -> None:
        with self._lock:
            job = self._entry(job_id).job
            if not job.status.is_terminal:
                raise JobNotFinished("the job still waits or runs; cancel it first")
            del self._entries[job_id]
            self._outbox.pop(f"{job_id}.{job.status}", None)

    def position(self, job: Job) -> int | None:
        with self._lock:
            entry = self._entries.get(job.id)
            if entry is None or entry.job.status is not JobStatus.QUEUED:
                return None
            ids = [e.job.id for e in self._waiting(job.spec.model)]
            return ids.index(job.id) if job.id in ids else len(ids)

    # The worker's side

    def snapshot(
        self, model: str, worker: str = "", loaded: str = "", window_us: int = 0
    ) -> Snapshot:
        with self._lock:
            waiting = [_shown(e.job) for e in self._waiting(model)]
            alive = {w.name for w in self.workers()} - {worker}
            elsewhere = {g for name, g in self._loaded.get(model, {}).items() if name in alive}
            groups: dict[str, list[WaitingJob]] = {}
            for job in waiting:
                groups.setdefault(job.group, []).append(job)
            shown = [
                WaitingGroup(jobs[0], len(jobs), group in elsewhere)
                for group, jobs in groups.items()
                if jobs[0].score_us <= waiting[0].score_us + window_us
            ]
            head = groups.get(loaded, [None])[0]
            return Snapshot(self.clock_ms() * 1000, waiting[:32], head, shown[:32])

    def claim(self, model: str, job_id: str | None, worker: str, ticket: str) -> Lease | None:
        with self._lock:
            earlier = self._claims.get(worker)
            if earlier and earlier[0] == ticket and self._owned(earlier[1]):
                return earlier[1]
            entry = self._entries.get(job_id or "")
            if entry is None or entry not in self._waiting(model):
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
            entry.lease_ends_ms = self.clock_ms() + int(self.lease_s * 1000)
            lease = Lease(entry.job.id, attempt)
            self._claims[worker] = (ticket, lease)
            self._loaded.setdefault(model, {})[worker] = entry.job.spec.group
            return lease

    def refuse(self, job_id: str, error: JobError) -> bool:
        with self._lock:
            entry = self._entries.get(job_id)
            if entry is None or entry.job.status is not JobStatus.QUEUED:
                return False
            self._end(entry, JobStatus.FAILED, error)
            return True

    def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
        with self._lock:
            entry = self._owned(lease)
            if entry is None:
                return Signal.LOST
            entry.lease_ends_ms = self.clock_ms() + int(self.lease_s * 1000)
            if progress is not None:
                entry.job = entry.job.model_copy(update=progress._asdict())
            return Signal.CANCEL if entry.job.cancel_requested else Signal.GO_ON

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        with self._lock:
            entry = self._owned(lease)
            if entry is None:
                known = self._entries.get(lease.job_id)
                return bool(
                    known
                    and known.job.status is outcome.status
                    and known.job.attempt == lease.attempt
                )
            done = outcome.status is JobStatus.SUCCEEDED
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
        with self._lock:
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
        with self._lock:
            now = self.clock_ms()
            for entry in list(self._entries.values()):
                if entry.job.status is JobStatus.RUNNING and entry.lease_ends_ms <= now:
                    if self._put_back(entry, error, 0) is JobStatus.QUEUED:
                        again[entry.job.spec.model] += 1
                    else:
                        ended += 1
                elif entry.job.status is JobStatus.QUEUED and 0 < entry.ready_ms <= now:
                    entry.ready_ms = 0
                    again[entry.job.spec.model] += 1
        return Rescued(again, ended)

    def backlog(self) -> Mapping[str, int]:
        with self._lock:
            models = {entry.job.spec.model for entry in self._entries.values()}
            return {model: len(self._waiting(model)) for model in sorted(models)}

    def due_deliveries(self, limit: int, hold_s: float) -> Sequence[Delivery]:
        with self._lock:
            now = self.clock_ms()
            due = [hook for hook in self._outbox.values() if hook.due_ms <= now][:limit]
            for hook in due:
                hook.due_ms = now + int(hold_s * 1000)
                hook.delivery = hook.delivery._replace(tries=hook.delivery.tries + 1)
            return [hook.delivery for hook in due]

    def settle(self, delivery: Delivery, retry_in_s: float | None) -> None:
        with self._lock:
            if retry_in_s is None:
                self._outbox.pop(delivery.id, None)
            elif delivery.id in self._outbox:
                self._outbox[delivery.id].due_ms = self.clock_ms() + int(retry_in_s * 1000)

    # Who is alive

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        with self._lock:
            self._workers[worker.name] = (worker, self.clock_ms() + int(ttl_s * 1000))

    def remove_worker(self, name: str) -> None:
        with self._lock:
            self._workers.pop(name, None)

    def workers(self) -> Sequence[WorkerState]:
        with self._lock:
            now = self.clock_ms()
            return [w for _, (w, ends) in sorted(self._workers.items()) if ends > now]

    def _entry(self, job_id: str) -> _Entry:
        try:
            return self._entries[job_id]
        except KeyError:
            raise JobNotFound(f"no job has the id {job_id!r}") from None

    def _owned(self, lease: Lease) -> _Entry | None:
        entry = self._entries.get(lease.job_id)
        if entry is None or entry.job.status is not JobStatus.RUNNING:
            return None
        return entry if entry.job.attempt == lease.attempt else None

    def _waiting(self, model: str) -> list[_Entry]:
        found = [
            e
            for e in self._entries.values()
            if e.job.status is JobStatus.QUEUED and e.job.spec.model == model and not e.ready_ms
        ]
        return sorted(found, key=lambda e: e.job.created_ms)

    def _push(self, ticket: Mapping[str, str] | None) -> None:
        if ticket is not None:
            self.tickets.append(ticket)

    def _move(self, entry: _Entry, status: JobStatus, **fields: object) -> None:
        assert status in TRANSITIONS[entry.job.status], (entry.job.status, status)
        entry.job = entry.job.model_copy(update={"status": status, **fields})

    def _end(self, entry: _Entry, status: JobStatus, error: JobError | None = None) -> None:
        entry.ready_ms = 0
        self._move(entry, status, completed_ms=self.clock_ms(), stage=None, error=error)
        webhook = entry.job.spec.webhook
        if webhook:
            key = f"{entry.job.id}.{status}"
            delivery = Delivery(key, entry.job.id, webhook.url, f"job.{status}", 0)
            self._outbox[key] = _Webhook(delivery, self.clock_ms())

    def _put_back(self, entry: _Entry, error: JobError, delay_s: float) -> JobStatus:
        if entry.job.cancel_requested:
            self._end(entry, JobStatus.CANCELED)
        elif entry.job.attempt - entry.refunded >= self.max_attempts:
            self._end(entry, JobStatus.FAILED, error)
        else:
            self._move(entry, JobStatus.QUEUED, stage=None, step=0, worker=None)
            entry.ready_ms = self.clock_ms() + int(delay_s * 1000) if delay_s else 0
        return entry.job.status


def _shown(job: Job) -> WaitingJob:
    return WaitingJob(job.id, job.created_ms * 1000, job.spec.group)
