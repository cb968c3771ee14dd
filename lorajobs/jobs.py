"""A job, its states and the table of allowed transitions; the vocabulary of every other file."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NamedTuple

from lorajobs.groups import key_of
from lorajobs.spec import Frozen, JobSpec


class JobStatus(StrEnum):
    """Where a job stands; terminal states are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """True once nothing can change the job any more."""
        return not TRANSITIONS[self]


#: The only state changes there are; `docs/job-states.md` draws them and a test walks them.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        JobStatus.QUEUED: frozenset(
            {JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED}
        ),
        JobStatus.RUNNING: frozenset(
            {JobStatus.QUEUED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED}
        ),
        JobStatus.SUCCEEDED: frozenset(),
        JobStatus.FAILED: frozenset(),
        JobStatus.CANCELED: frozenset(),
        JobStatus.EXPIRED: frozenset(),
    }
)


class Stage(StrEnum):
    """What a running job is doing."""

    LOADING_BASE = "loading_base"
    LOADING_ADAPTER = "loading_adapter"
    DENOISING = "denoising"
    DECODING = "decoding"
    UPLOADING = "uploading"


class AppliedLora(Frozen):
    """An adapter that the engine verified to be active, never one merely asked for."""

    id: str
    revision: str
    sha256: str
    scale: float
    #: how many weights it changes; None where the engine has no weights
    modules: int | None = None
    #: the largest of its modules' ranks; None if it has none, as a whole difference
    rank: int | None = None
    #: scale · alpha / rank, of the module where that is largest
    effective_scale: float | None = None
    #: True if a module has no alpha anywhere, so that it was taken to equal the rank
    alpha_assumed: bool = False
    #: of its trained tokens' file, and what a prompt calls them
    embeddings_sha256: str | None = None
    tokens: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """See `Adapter.key`."""
        return key_of(self.sha256, self.embeddings_sha256)


class Output(Frozen):
    """One stored picture."""

    index: int
    key: str
    content_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    seed: int
    #: False: a checker found nothing; None: nobody looked
    nsfw: Literal[False] | None = None


class Withheld(Frozen):
    """A picture that a checker flagged: stored nowhere, so it has no key, bytes, hash or URL.

    It keeps its place among a job's `outputs`; `pictures` are those that there are.
    """

    index: int
    width: int
    height: int
    seed: int
    nsfw: Literal[True] = True


#: By index, one for each picture that was made.
Outputs = tuple[Output | Withheld, ...]


def _stored(outputs: Outputs) -> Sequence[Output]:
    return tuple(output for output in outputs if isinstance(output, Output))


class JobWarning(Frozen):
    """Something accepted that the client should know."""

    code: str
    detail: str


class JobError(Frozen):
    """Why a job failed."""

    code: str
    title: str
    detail: str
    retryable: bool


class Metrics(Frozen):
    """Seconds spent in each stage of the last attempt; None where it was not reached."""

    queue_s: float | None = None
    #: to load the base in place of another
    base_s: float | None = None
    fetch_s: float | None = None
    swap_s: float | None = None
    generate_s: float | None = None
    #: of the image checker
    check_s: float | None = None
    upload_s: float | None = None
    #: True if the attempt had to change the applied adapters
    swapped: bool | None = None
    #: how many adapters came from each tier: `applied` (nothing to do), `disk` or `remote`
    tiers: dict[str, int] | None = None


class Lease(NamedTuple):
    """The right of one attempt to run a job; every write of that attempt carries it."""

    job_id: str
    attempt: int


class Job(Frozen):
    """The record of a job as the store holds it; times are Unix milliseconds of the store."""

    id: str
    status: JobStatus
    spec: JobSpec
    created_ms: int
    warnings: tuple[JobWarning, ...] = ()
    stage: Stage | None = None
    step: int = 0
    steps: int = 0
    attempt: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    started_ms: int | None = None
    completed_ms: int | None = None
    #: seconds after its submit in which it was expected to start then, None if nobody could tell
    predicted_s: float | None = None
    applied_loras: tuple[AppliedLora, ...] = ()
    outputs: Outputs = ()
    error: JobError | None = None
    metrics: Metrics = Metrics()

    @property
    def pictures(self) -> Sequence[Output]:
        """The outputs that were stored."""
        return _stored(self.outputs)

    @property
    def queue_s(self) -> float:
        """Seconds from the submit to the last claim, 0 before the first."""
        return ((self.started_ms or self.created_ms) - self.created_ms) / 1000

    @property
    def lease(self) -> Lease:
        """That of its last attempt."""
        return Lease(self.id, self.attempt)

    @property
    def folder(self) -> str:
        """The prefix of every object that any attempt of this job stores."""
        return self.folder_of(self.id)

    @staticmethod
    def folder_of(job_id: str) -> str:
        """The same of a job of which only the id is known."""
        return f"jobs/{job_id}/"

    @property
    def source_key(self) -> str:
        """The object with the picture that it starts from, if it starts from one."""
        return f"{self.folder}source.png"

    @staticmethod
    def id_of(key: str) -> str | None:
        """The id of the job that an object belongs to, None if it is no job's."""
        top, _, rest = key.partition("/")
        return rest.partition("/")[0] if top == "jobs" else None


class Outcome(Frozen):
    """How an attempt ended, as the worker reports it."""

    status: Literal[JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED]
    applied_loras: tuple[AppliedLora, ...] = ()
    outputs: Outputs = ()
    #: all of the job's warnings, those of the submit included
    warnings: tuple[JobWarning, ...] = ()
    error: JobError | None = None
    metrics: Metrics = Metrics()

    @property
    def pictures(self) -> Sequence[Output]:
        """See `Job.pictures`."""
        return _stored(self.outputs)
