"""What the rest asks of the job store; every verb is atomic and safe to repeat after a lost reply."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from lorajobs.jobs import Job, JobStatus, Lease, Outcome, Stage


class JobFilter(NamedTuple):
    """Which jobs a listing shows; None matches all."""

    status: JobStatus | None = None
    model: str | None = None
    lora: str | None = None


class JobPage(NamedTuple):
    """One page of jobs, newest first, and the cursor of the next or None."""

    jobs: Sequence[Job]
    cursor: str | None


class WaitingJob(NamedTuple):
    """A job that a worker may claim; `score_ms` orders the queue, smaller first."""

    id: str
    score_ms: int
    #: the adapters that it needs, as `sha256@scale` sorted
    adapters: tuple[str, ...]


class Snapshot(NamedTuple):
    """What the policy sees of one base's queue: the oldest waiting jobs and the clock."""

    waiting: Sequence[WaitingJob]
    now_ms: int


class Signal(Enum):
    """The store's answer to a renewal."""

    GO_ON = "go_on"
    CANCEL = "cancel"
    LOST = "lost"


class Delivery(NamedTuple):
    """One leased webhook delivery; `tries` counts this one."""

    id: str
    job_id: str
    url: str
    event: str
    tries: int


class Rescued(NamedTuple):
    """What one round of the courier moved: jobs put back, jobs ended, delayed jobs made due."""

    requeued: int
    failed: int
    due: int


class WorkerState(NamedTuple):
    """What a live worker says of itself."""

    name: str
    model: str
    #: `loading` until its base is warm, then `warm`
    state: str
    #: applied now, as (adapter id, scale)
    loaded: Sequence[tuple[str, float]]
    job_id: str | None


class JobStore(Protocol):
    """The API's side."""

    def submit(self, job: Job, ticket: Mapping[str, str] | None) -> bool:
        """Writes the job and queues it, with its ticket if given; False if it was there already."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def page(self, where: JobFilter, limit: int, cursor: str | None) -> JobPage:
        """Lists jobs, newest first."""

    def cancel(self, job_id: str) -> Job:
        """Ends a waiting job, asks a running one to stop, leaves an ended one.

        Raises: JobNotFound.
        """

    def delete(self, job_id: str) -> None:
        """Erases an ended job's record.

        Raises: JobNotFound, JobNotFinished.
        """

    def position(self, job: Job) -> int | None:
        """How many jobs are before this one in its queue, None unless it waits."""


class LeaseStore(Protocol):
    """The worker's side; writes of an attempt that lost its lease change nothing."""

    def snapshot(self, model: str) -> Snapshot:
        """Shows the policy the queue of one base."""

    def claim(self, model: str, job_id: str, worker: str, ticket: str) -> Lease | None:
        """Takes a waiting job for one worker; None if it is gone. The same ticket gets the same answer."""

    def claimed(self, worker: str, ticket: str) -> Lease | None:
        """The lease that this ticket already got, if its attempt still runs."""

    def renew(self, lease: Lease, progress: tuple[Stage, int, int] | None = None) -> Signal:
        """Extends the lease and records (stage, step, steps)."""

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """Ends the job and writes its webhook; False if the lease was lost."""

    def requeue(self, lease: Lease, reason: str, *, delay_s: float = 0, refund: bool = False) -> bool:
        """Puts the job back, or fails it with `worker_lost` once attempts are used up.

        `refund` gives the attempt back, for a shutdown.
        """


class Housekeeping(Protocol):
    """The courier's side."""

    def rescue(self) -> Rescued:
        """Puts back every job whose lease ran out and every delayed job that is due."""

    def backlog(self) -> Mapping[str, int]:
        """Waiting jobs per base."""

    def due_deliveries(self, limit: int, hold_s: float) -> Sequence[Delivery]:
        """Leases due webhooks for `hold_s` seconds."""

    def settle(self, delivery: Delivery, retry_in_s: float | None) -> None:
        """Closes a delivery, or plans its next try."""

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        """Publishes a worker until `ttl_s` has passed."""

    def workers(self) -> Sequence[WorkerState]:
        """The live workers."""
