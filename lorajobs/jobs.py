"""A job, its states and the table of allowed transitions; the vocabulary of every other file."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from lorajobs.groups import group_of, key_of


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


class Frozen(BaseModel):
    """Base of the values that travel as JSON: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PinnedFile(Frozen):
    """A weight file pinned to bytes: whatever happens to its source, a job keeps this version."""

    #: registered id, or the reference as the client gave it
    id: str
    #: where a worker fetches it: `hf:owner/name@commit/file`, `s3://bucket/key?versionId=v`
    #: or `blob:<sha256>` (a snapshot in the object store)
    location: str
    #: commit, version id or `sha256:…`
    revision: str
    #: names it in every cache
    sha256: str
    bytes: int
    weight_name: str
    #: True if the operator registered it, so that HF_TOKEN may serve it
    trusted: bool = False


class Embeddings(PinnedFile):
    """The trained tokens beside a LoRA (pivotal tuning), as a prompt calls them, by row."""

    tokens: tuple[str, ...]


class Adapter(PinnedFile):
    """A LoRA pinned to bytes."""

    #: `adapter_config.json` of a PEFT folder, else None
    peft_config: dict[str, object] | None = None
    #: the base that its source names, as written there
    base: str | None = None
    #: True if it is registered under its id
    registered: bool = False
    embeddings: Embeddings | None = None

    @property
    def files(self) -> Sequence[PinnedFile]:
        """All that a worker needs of it, the LoRA first."""
        return (self, self.embeddings) if self.embeddings else (self,)

    @property
    def key(self) -> str:
        """Names it in a group."""
        return key_of(self.sha256, self.embeddings.sha256 if self.embeddings else None)


class AdapterUse(Frozen):
    """One adapter at one scale in one job."""

    adapter: Adapter
    scale: float


class OutputFormat(Frozen):
    """How pictures are encoded."""

    format: Literal["png", "jpeg", "webp"] = "png"
    quality: int = 90


#: A head start in the queue, see `store.QueueRules`.
Priority = Literal["low", "normal", "high"]

#: What an adapter that cannot be applied does to its job: it fails, or goes on without, warned.
OnLoraError = Literal["fail", "skip"]

#: What a webhook may tell, and what it tells if nothing else is asked: how the job ended.
WebhookEvent = Literal["started", "progress", "succeeded", "failed", "canceled", "expired"]
ENDS: tuple[WebhookEvent, ...] = ("succeeded", "failed", "canceled", "expired")

#: Whom a registered adapter is there for: its owner alone, or everyone.
Visibility = Literal["private", "public"]


class Webhook(Frozen):
    """Where the job is announced, and which of its events."""

    url: str
    events: tuple[WebhookEvent, ...] = ENDS


class JobSpec(Frozen):
    """A request with every default filled in and every adapter pinned: all a worker needs."""

    model: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    num_images: int
    scheduler: str | None
    loras: tuple[AdapterUse, ...]
    output: OutputFormat
    webhook: Webhook | None
    metadata: dict[str, str]
    priority: Priority = "normal"
    #: seconds after its submit in which the job must start, else it expires
    start_deadline_s: int | None = None
    on_lora_error: OnLoraError = "fail"
    #: the ended job that an operator submitted again as this one
    retry_of: str | None = None
    #: the id of the API key that submitted it, empty without one
    owner: str = ""

    @property
    def group(self) -> str:
        """The name of the set of adapters that the job needs."""
        return group_of((use.adapter.key, use.scale) for use in self.loras)


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
    upload_s: float | None = None
    #: True if the attempt had to change the applied adapters
    swapped: bool | None = None
    #: how many adapters came from each tier: `applied` (nothing to do), `disk` or `remote`
    tiers: dict[str, int] | None = None


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
    outputs: tuple[Output, ...] = ()
    error: JobError | None = None
    metrics: Metrics = Metrics()

    @property
    def queue_s(self) -> float:
        """Seconds from the submit to the last claim, 0 before the first."""
        return ((self.started_ms or self.created_ms) - self.created_ms) / 1000

    @property
    def folder(self) -> str:
        """The prefix of every object that any attempt of this job stores."""
        return self.folder_of(self.id)

    @staticmethod
    def folder_of(job_id: str) -> str:
        """The same of a job of which only the id is known."""
        return f"jobs/{job_id}/"


class Lease(NamedTuple):
    """The right of one attempt to run a job; every write of that attempt carries it."""

    job_id: str
    attempt: int


class Outcome(Frozen):
    """How an attempt ended, as the worker reports it."""

    status: Literal[JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED]
    applied_loras: tuple[AppliedLora, ...] = ()
    outputs: tuple[Output, ...] = ()
    #: all of the job's warnings, those of the submit included
    warnings: tuple[JobWarning, ...] = ()
    error: JobError | None = None
    metrics: Metrics = Metrics()
