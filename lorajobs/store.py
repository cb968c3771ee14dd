"""What the rest asks of the job store; every verb is atomic and safe after a lost reply."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from lorajobs.jobs import AppliedLora, Job, JobError, JobStatus, Lease, Outcome, Stage


class JobFilter(NamedTuple):
    """Which jobs a listing shows; None matches all."""

    status: JobStatus | None = None
    model: str | None = None
    lora: str | None = None

    def matches(self, job: Job) -> bool:
        """True if the job belongs into the listing."""
        return (
            (self.status is None or job.status == self.status)
            and (self.model is None or job.spec.model == self.model)
            and (self.lora is None or any(use.adapter.id == self.lora for use in job.spec.loras))
        )


class JobPage(NamedTuple):
    """One page of jobs, newest first, and the cursor of the next or None."""

    jobs: Sequence[Job]
    cursor: str | None


class WaitingJob(NamedTuple):
    """A job that a worker may claim; `score_us`, Unix microseconds, orders the queue."""

    id: str
    score_us: int
    #: the adapters that it needs, as `jobs.group_of` names them
    group: str


class WaitingGroup(NamedTuple):
    """The waiting jobs that need the same adapters."""

    oldest: WaitingJob
    waiting: int
    #: another live worker has these adapters applied
    elsewhere: bool


class Snapshot(NamedTuple):
    """What the policy sees of one base's queue: small, whatever the backlog."""

    now_us: int
    #: the oldest jobs, at most 32
    waiting: Sequence[WaitingJob]
    #: the oldest job that needs what the worker has applied
    loaded: WaitingJob | None
    #: the groups whose oldest job may be taken now, at most 32, by that job's age
    groups: Sequence[WaitingGroup]


class Progress(NamedTuple):
    """How far an attempt is: its stage and denoise steps done of all."""

    stage: Stage
    step: int
    steps: int


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
    """What one round of the courier moved: jobs that wait again, by model, and jobs ended."""

    waiting_again: Mapping[str, int]
    ended: int


class WorkerState(NamedTuple):
    """What a live worker says of itself."""

    name: str
    model: str
    #: `loading` until its base is warm, then `warm`
    state: str
    #: applied now
    loaded: Sequence[AppliedLora]
    job_id: str | None


class JobStore(Protocol):
    """The API's side."""

    def submit(self, job: Job, ticket: Mapping[str, str] | None) -> bool:
        """Writes the job and queues it, with its ticket if given; False if it was there already."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def page(self, where: JobFilter, limit: int, cursor: str | None) -> JobPage:
        """Lists jobs, newest first.

        Raises: ValueError for a cursor that no page gave.
        """

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

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def snapshot(
        self, model: str, worker: str = "", loaded: str = "", window_us: int = 0
    ) -> Snapshot:
        """Shows the queue of one base to a worker that has the group `loaded` applied.

        Groups are those whose oldest job is at most `window_us` younger than the oldest of all.
        """

    def claim(self, model: str, job_id: str | None, worker: str, ticket: str) -> Lease | None:
        """Takes a waiting job for one worker; None if it is gone.

        A ticket whose attempt still runs gets that attempt again, whatever the job id, so that a
        lost reply leaks no job; `job_id=None` asks for just that.
        """

    def refuse(self, job_id: str, error: JobError) -> bool:
        """Fails a job that waits and can never run; False if it waits no more."""

    def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
        """Extends the lease and records how far the attempt is."""

    def finish(self, lease: Lease, outcome: Outcome) -> bool:
        """Ends the job and writes its webhook; False if the lease was lost."""

    def requeue(
        self,
        lease: Lease,
        error: JobError,
        *,
        delay_s: float = 0,
        refund: bool = False,
        ticket: Mapping[str, str] | None = None,
    ) -> JobStatus | None:
        """Puts the job back; ends it with `error` after its last attempt, or as canceled if asked.

        `refund` gives the attempt back, for a shutdown; `ticket` is pushed with it unless delayed.
        Returns the new status, None if the lease was lost.
        """


class Rescuing(Protocol):
    """The side of whoever looks after dead workers' jobs."""

    def rescue(self) -> Rescued:
        """Puts back every job whose lease ran out and every delayed job that is due."""


class Housekeeping(Rescuing, Protocol):
    """The courier's side."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def backlog(self) -> Mapping[str, int]:
        """Waiting jobs per base model."""

    def due_deliveries(self, limit: int, hold_s: float) -> Sequence[Delivery]:
        """Leases due webhooks for `hold_s` seconds."""

    def settle(self, delivery: Delivery, retry_in_s: float | None) -> None:
        """Closes a delivery, or plans its next try."""


class Workers(Protocol):
    """Who is alive and what it has loaded."""

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        """Publishes a worker until `ttl_s` has passed."""

    def remove_worker(self, name: str) -> None:
        """Forgets a worker that leaves in order."""

    def workers(self) -> Sequence[WorkerState]:
        """The live workers, by name."""
