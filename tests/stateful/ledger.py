"""What the job store must answer and hold: the whole truth about every job, kept in plain fields.

Time is the ledger's own, in seconds since it was opened.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lorajobs.jobs import Job, JobError, JobStatus, Lease, Outcome, Outputs, Stage
from lorajobs.spec import JobSpec
from lorajobs.store import DEFAULT_RULES, Progress, QueueRules, Rescued, Signal
from tests.stateful.outbox import OutboxLedger


@dataclass
class Entry:
    """One job: as it was submitted, and where it stands."""

    job: Job
    created_ms: int
    status: JobStatus = JobStatus.QUEUED
    delayed: bool = False
    #: when, as it stands, it expires, its delay or its lease ends, or it may be erased
    due_s: float | None = None
    refunds: int = 0
    attempt: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    stage: Stage | None = None
    step: int = 0
    error: str | None = None
    outputs: Outputs = ()

    @property
    def waits(self) -> bool:
        """True if it may be claimed."""
        return self.status is JobStatus.QUEUED and not self.delayed

    def fields(self) -> dict[str, object]:
        """What its record must say."""
        return {
            "spec": self.job.spec,
            "created_ms": self.created_ms,
            "status": self.status,
            "attempt": self.attempt,
            "worker": self.worker,
            "cancel_requested": self.cancel_requested,
            "stage": self.stage,
            "step": self.step,
            "error": self.error,
            "outputs": self.outputs,
        }


@dataclass
class Ledger(OutboxLedger):
    """Every verb as the store must do it."""

    rules: QueueRules = DEFAULT_RULES
    #: tickets that were to be pushed
    pushed: int = 0
    #: the jobs whose records are there
    entries: dict[str, Entry] = field(default_factory=dict)
    #: of all jobs, whatever became of them
    ids: list[str] = field(default_factory=list)
    #: those given, whatever became of them, but for those that crashed: who holds a lost one is a
    #: zombie
    leases: list[Lease] = field(default_factory=list)
    #: who was given each attempt
    owners: dict[Lease, str] = field(default_factory=dict)
    #: every submit and claim has its number
    _ticks: int = 0
    _at: dict[str, int] = field(default_factory=dict)
    #: by base and key, in the order of the last claims, and those that had a turn in this round
    _served: dict[tuple[str, str], int] = field(default_factory=dict)
    _had: set[tuple[str, str]] = field(default_factory=set)
    _claims: dict[str, tuple[str, Lease]] = field(default_factory=dict)

    def owned(self, lease: Lease) -> Entry | None:
        """The job that this attempt runs, None if it lost its lease."""
        entry = self.entries.get(lease.job_id)
        if entry and entry.status is JobStatus.RUNNING and entry.attempt == lease.attempt:
            return entry
        return None

    def held(self) -> Sequence[Lease]:
        """The leases that are not lost."""
        return [lease for lease in self.leases if self.owned(lease)]

    def zombies(self) -> Sequence[Lease]:
        """The leases that are lost while their jobs wait or run."""
        lost = (lease for lease in self.leases if not self.owned(lease))
        return [z for z in lost if (e := self.entries.get(z.job_id)) and not e.status.is_terminal]

    def waiting(self, model: str) -> Sequence[Entry]:
        """The queue of one base: by priority, then in the order of the submits for ever."""
        queue = [e for e in self.entries.values() if e.waits and e.job.spec.model == model]
        return sorted(queue, key=self.rank)

    def rank(self, entry: Entry) -> int:
        """Smaller for a higher priority; the rules' head start is longer than any run."""
        return -self.rules.head_start_ms(entry.job.spec.priority)

    def line(self, model: str, owner: str) -> list[Entry]:
        """What waits of one key."""
        return [entry for entry in self.waiting(model) if entry.job.spec.owner == owner]

    def turns(self, model: str) -> list[str]:
        """The keys that wait, who waits longest first.

        A head start counts until the key's first claim, and a job held back waits for its time,
        which no run lasts; else a key waits since its last claim, or since its oldest submit.
        """
        owners = {entry.job.spec.owner for entry in self.waiting(model)}

        def since(owner: str) -> tuple[int, int]:
            head = self.line(model, owner)[0]
            served = self._served.get((model, owner))
            submitted = self.rank(head), self._at[head.job.id]
            return submitted if served is None else max(submitted, (0, served))

        return sorted(owners, key=since)

    def had(self, model: str, owner: str) -> bool:
        """True if it had its turn in this round."""
        return (model, owner) in self._had

    def is_full(self, spec: JobSpec) -> bool:
        """True if no job more may wait for this base, or of this key."""
        line = self.line(spec.model, spec.owner)
        return len(self.waiting(spec.model)) >= self.rules.max_waiting or (
            bool(spec.owner) and len(line) >= self.rules.max_waiting_per_key
        )

    def submit(self, job: Job, created_ms: int, ticket: bool) -> None:
        self.entries[job.id] = Entry(job, created_ms, due_s=self._in(job.spec.start_deadline_s))
        self.ids.append(job.id)
        self._at[job.id] = self._tick()
        self.pushed += ticket

    def claim(self, model: str, job_id: str | None, worker: str, ticket: str) -> Lease | None:
        said, earlier = self._claims.get(worker, ("", None))
        if earlier and said == ticket and self.owned(earlier):
            return earlier
        entry = self.entries.get(job_id or "")
        if entry is None or not entry.waits or entry.job.spec.model != model:
            return None
        if self._is_due(entry):
            self._end(entry, JobStatus.EXPIRED, "deadline_exceeded")
            return None
        entry.status, entry.worker = JobStatus.RUNNING, worker
        entry.due_s = self._in(self.rules.lease_s)
        entry.attempt += 1
        if entry.attempt == 1:
            self.announce(entry.job, "started")
        self._take_turn(model, entry.job.spec.owner)
        lease = Lease(entry.job.id, entry.attempt)
        self._claims[worker] = (ticket, lease)
        assert lease not in self.owners
        self.owners[lease] = worker
        self.leases.append(lease)
        return lease

    def _take_turn(self, model: str, owner: str) -> None:
        if self.had(model, owner):
            self._had = {(m, o) for m, o in self._had if m != model}
        self._had.add((model, owner))
        self._served[model, owner] = self._tick()

    def _tick(self) -> int:
        self._ticks += 1
        return self._ticks

    def refuse(self, job_id: str, error: JobError) -> bool:
        entry = self.entries.get(job_id)
        if entry is None or entry.status is not JobStatus.QUEUED:
            return False
        self._end(entry, JobStatus.FAILED, error.code)
        return True

    def renew(self, lease: Lease, progress: Progress | None) -> Signal:
        entry = self.owned(lease)
        if entry is None:
            return Signal.LOST
        entry.due_s = self._in(self.rules.lease_s)
        if progress:
            entry.stage, entry.step, _ = progress
        return Signal.CANCEL if entry.cancel_requested else Signal.GO_ON

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        entry = self.owned(lease)
        if entry is None:
            # A replay of what ended it, or the same words from who lost it at the very end.
            known = self.entries.get(lease.job_id)
            ended = (known.status, known.attempt) if known else None
            return ended == (outcome.status, lease.attempt)
        entry.outputs = outcome.outputs
        if outcome.status is JobStatus.SUCCEEDED:
            entry.step = entry.job.spec.num_inference_steps
        self._end(entry, outcome.status, outcome.error.code if outcome.error else None)
        return True

    def requeue(
        self, lease: Lease, error: JobError, delay_s: float, refund: bool, ticket: bool
    ) -> JobStatus | None:
        entry = self.owned(lease)
        if entry is None:
            return None
        entry.refunds += refund
        status = self._put_back(entry, error.code, delay_s)
        self.pushed += ticket and entry.waits
        return status

    def cancel(self, job_id: str) -> None:
        entry = self.entries[job_id]
        if entry.status is JobStatus.QUEUED:
            self._end(entry, JobStatus.CANCELED)
        elif entry.status is JobStatus.RUNNING:
            entry.cancel_requested = True

    def rescue(self) -> Rescued:
        again: Counter[str] = Counter()
        ended = 0
        for entry in self.entries.values():
            if entry.status.is_terminal or not self._is_due(entry):
                continue
            if entry.waits:
                self._end(entry, JobStatus.EXPIRED, "deadline_exceeded")
            elif entry.delayed:
                entry.delayed, entry.due_s = False, None
            else:
                self._put_back(entry, "worker_lost", 0)
            again[entry.job.spec.model] += entry.waits
            ended += entry.status.is_terminal
        return Rescued(+again, ended)

    def spent(self) -> set[str]:
        """The ended jobs that were kept long enough."""
        entries = self.entries.items()
        return {i for i, entry in entries if entry.status.is_terminal and self._is_due(entry)}

    def delete(self, job_id: str) -> None:
        del self.entries[job_id]
        self.forget(job_id)

    def _in(self, seconds: float | None) -> float | None:
        return None if seconds is None else self.now_s + seconds

    def _is_due(self, entry: Entry) -> bool:
        return entry.due_s is not None and entry.due_s <= self.now_s

    def _put_back(self, entry: Entry, error: str, delay_s: float) -> JobStatus:
        if entry.cancel_requested:
            self._end(entry, JobStatus.CANCELED)
        elif entry.attempt - entry.refunds >= self.rules.max_attempts:
            self._end(entry, JobStatus.FAILED, error)
        else:
            entry.status, entry.worker, entry.stage, entry.step = JobStatus.QUEUED, None, None, 0
            entry.delayed, entry.due_s = delay_s > 0, self._in(delay_s or None)
        return entry.status

    def _end(self, entry: Entry, status: JobStatus, error: str | None = None) -> None:
        entry.status, entry.delayed, entry.stage, entry.error = status, False, None, error
        entry.due_s = self._in(self.rules.retention_s)
        self.announce(entry.job, status.value)
