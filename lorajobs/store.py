"""What the rest asks of the job store; every verb is atomic and safe after a lost reply."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from lorajobs.errors import DeadlineExceeded
from lorajobs.holdings import Holdings
from lorajobs.job_page import JobFilter, JobPage
from lorajobs.jobs import AppliedLora, Job, JobError, JobStatus, Lease, Outcome, Stage
from lorajobs.outbox import DeliveryLog, Outbox
from lorajobs.place import NOBODY, Crew, Place, Submitted
from lorajobs.snapshot import SNAPSHOT_LIMIT, Snapshot
from lorajobs.spec import Priority
from lorajobs.terms import DEFAULT_TERMS, Once, Terms


class QueueRules(NamedTuple):
    """What a store holds jobs to."""

    #: seconds until a silent worker's job is rescued
    lease_s: float = 6.0
    max_attempts: int = 3
    #: seconds that a high priority counts as submitted earlier, and a low one later
    head_start_s: float = 60.0
    #: jobs that may wait for one base model
    max_waiting: int = 10_000
    #: of these, jobs of one API key
    max_waiting_per_key: int = 1000
    #: seconds that an ended job is kept
    retention_s: float = 7 * 86_400

    def most_of_key(self, terms: Terms) -> int:
        """How many jobs of a key may wait for one base."""
        return self.max_waiting_per_key if terms.max_waiting is None else terms.max_waiting

    def head_start_ms(self, priority: Priority) -> int:
        """How much earlier than its submit a job counts as submitted."""
        return int(1000 * self.head_start_s * {"low": -1, "normal": 0, "high": 1}[priority])


DEFAULT_RULES = QueueRules()


#: The end of a job that did not start in time.
LATE = DeadlineExceeded("it waited longer than its start_deadline_s").as_job_error()


class Trade(NamedTuple):
    """How a claim makes good that its ticket was another base's."""

    #: a ticket for that base's queue
    given: Mapping[str, str]
    #: the queue of the job's own base, which has a ticket too many now
    taken: str


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


class Rescued(NamedTuple):
    """What one round of the courier moved: jobs that wait again, by model, and jobs ended."""

    waiting_again: Mapping[str, int]
    ended: int


UNLOADED = "unloaded"
#: Of a base that no worker has on its GPU, but one in its host memory.
PARKED = "parked"
DRAINING = "draining"


class WorkerState(NamedTuple):
    """What a live worker says of itself."""

    name: str
    #: the base that it has loaded
    model: str
    #: `loading` until its base is warm, then `warm`; `unloaded` while it has none because nothing
    #: was to do; `draining` while it was told to take no jobs
    state: str
    #: applied now
    loaded: Sequence[AppliedLora]
    job_id: str | None
    #: adapters on its machine's disk, and their bytes
    cached: int = 0
    cached_bytes: int = 0
    #: other bases that it loads when their jobs are worth it
    others: tuple[str, ...] = ()
    #: where the base's pristine weights lie: `gpu`, `host` or `unfused`; empty if unknown
    placement: str = ""
    #: bases that it can have on its GPU again in a moment
    parked: tuple[str, ...] = ()
    #: names the disk that these are on, see `holdings.Holder`; empty if there is none
    disk: str = ""

    def serves(self, model: str) -> bool:
        """True if it may load this base, if it has not."""
        return model in (self.model, *self.others)

    @property
    def takes_jobs(self) -> bool:
        """True unless it was told not to."""
        return self.state != DRAINING


class JobStore(DeliveryLog, Protocol):
    """The API's side."""

    def submit(
        self,
        job: Job,
        ticket: Mapping[str, str] | None,
        *,
        window_us: int = 0,
        crew: Crew = NOBODY,
        terms: Terms = DEFAULT_TERMS,
    ) -> Submitted:
        """Writes the job and queues it, with its ticket if given.

        `window_us` is the policy's; from `crew` comes the estimate of its start.
        Raises: QueueFull, IdempotencyMismatch, JobNotFound if the job of `terms.once` was erased.
        """

    def earlier(self, once: Once) -> Job | None:
        """The job that a request of this name made.

        Raises: IdempotencyMismatch, JobNotFound if it was erased.
        """

    def outlook(self, job: Job, window_us: int, terms: Terms = DEFAULT_TERMS) -> Place:
        """Where the job would stand if it were submitted now; changes nothing.

        Raises: QueueFull.
        """

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

    def place(self, job_id: str, window_us: int) -> Place | None:
        """Where a job stands if the policy's window is this long; None unless it waits."""


class LeaseStore(Protocol):
    """The worker's side; writes of an attempt that lost its lease change nothing."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def snapshot(
        self, model: str, worker: str = "", loaded: str = "", limit: int = SNAPSHOT_LIMIT
    ) -> Snapshot:
        """Shows the queue of one base to a worker that has the group `loaded` applied.

        It shows so many keys, and groups of each, and no more than twice as many groups in all.
        """

    def claim(
        self,
        model: str,
        job_id: str | None,
        worker: str,
        ticket: str,
        trade: Trade | None = None,
    ) -> Job | None:
        """Takes a waiting job for one worker; None if it is gone, or has expired by now.

        A ticket whose attempt still runs gets that attempt again, whatever the job id, so that a
        lost reply leaks no job; `job_id=None` asks for just that. `trade` makes good that the
        ticket was another base's.
        Raises: RecordUnreadable with the lease that was taken.
        """

    def refuse(self, job_id: str, error: JobError, by: str = "", of: int = 1) -> bool:
        """Fails a job that waits and can never run; False if it waits no more, or still may.

        If `by` names who could not get what it needs, it fails once `of` different ones have said
        so.
        """

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
        """Puts back jobs whose lease ran out and delayed ones that are due, expires others."""


class Housekeeping(Rescuing, Outbox, Protocol):
    """The courier's side."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""

    def backlog(self) -> Mapping[str, int]:
        """Waiting jobs per base model."""

    def spent(self, limit: int) -> Sequence[str]:
        """Ended jobs that were kept as long as they had to be."""

    def keep(self, job_id: str, seconds: float) -> None:
        """Keeps an ended job so much longer from now on."""

    def delete(self, job_id: str) -> None:
        """Raises: JobNotFound, JobNotFinished."""


class Workers(Holdings, Protocol):
    """Who is alive and what it has."""

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        """Publishes a worker until `ttl_s` has passed."""

    def remove_worker(self, name: str) -> None:
        """Forgets a worker that leaves in order."""

    def workers(self) -> Sequence[WorkerState]:
        """The live workers, by name."""
