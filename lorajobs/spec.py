"""What a job is to make: a request with every default filled in and every adapter pinned."""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lorajobs.groups import group_of, key_of


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

    @property
    def content(self) -> str:
        """Names it in memory: the same weights under another configuration are another."""
        if self.peft_config is None:
            return self.sha256
        told = json.dumps([self.sha256, self.peft_config], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()


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

#: What it tells it in: a job in an envelope with the event, or a bare prediction of Replicate's.
WebhookShape = Literal["job", "prediction"]

#: Whom a registered adapter is there for: its owner alone, or everyone.
Visibility = Literal["private", "public"]


class Webhook(Frozen):
    """Where the job is announced, and which of its events."""

    url: str
    events: tuple[WebhookEvent, ...] = ENDS
    shape: WebhookShape = "job"


class SourceImage(Frozen):
    """The picture that a job starts from; its pixels, fitted to the job's size, lie beside it."""

    #: the id of an upload, or a URL without its secrets
    reference: str
    #: of the file as it was sent
    sha256: str
    #: of the upright picture before it was fitted, in pixels
    width: int
    height: int
    #: of `num_inference_steps`, how many `strength` leaves to be made
    steps: int


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
    #: the id of the HTTP request that submitted it, empty without one
    request_id: str = ""
    image: SourceImage | None = None
    #: how far the pictures may go from `image`, above 0 to 1
    strength: float | None = None

    @property
    def steps(self) -> int:
        """The denoise steps that each picture takes."""
        return self.image.steps if self.image else self.num_inference_steps

    @property
    def all_steps(self) -> int:
        """The denoise steps of all its pictures."""
        return self.steps * self.num_images

    @property
    def group(self) -> str:
        """The name of the set of adapters that the job needs."""
        return group_of((use.adapter.key, use.scale) for use in self.loras)
