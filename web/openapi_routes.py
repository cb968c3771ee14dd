"""What each route reads and answers, one row a route: beyond its rule and its docstring."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from lorajobs.errors import (
    JobNotFinished,
    JobNotFound,
    LoraFetchFailed,
    LoraJobsError,
    LoraNotRegistered,
    OutputNotFound,
    QueueFull,
    RequestError,
    StorageUnavailable,
    UnknownModel,
    UploadFailed,
)
from lorajobs.image_errors import (
    ImageFetchFailed,
    ImageInvalid,
    ImageTooLarge,
    NoSuchImage,
    PipelineUnknown,
    SourceLost,
)
from lorajobs.operator_errors import WorkerNotFound, WorkerSilent
from lorajobs.outbox import DeliveryNotFound
from lorajobs.queries import (
    JobQuery,
    Query,
    SubmitQuery,
    UploadForm,
    UploadQuery,
    UsageQuery,
    WaitQuery,
)
from lorajobs.request import JobRequest, RegisterRequest
from lorajobs.source_picture import CONTENT_TYPES
from lorajobs.storage.base import UPLOAD_TYPE
from lorajobs.store_errors import RecordUnreadable
from lorajobs.upload_errors import UploadAwaited, UploadMismatch
from web.huggingface import TextToImage
from web.openai_images import ImagesRequest
from web.replicate_files import FileForm
from web.replicate_shapes import ModelPrediction, PredictionsQuery, VersionPrediction
from web.seats import TooManyListeners
from web.vllm_omni import ChatRequest


@dataclass(frozen=True)
class Answer:
    """One answer that is no error."""

    #: the schema of its JSON, or its media type; empty if it has no body
    what: str = ""
    #: the schema of what is not `application/json`, if it has one
    of: str = ""
    #: its headers, names in `ANSWER_HEADERS`
    always: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a route reads and answers, beyond what can be told from its rule."""

    #: by status
    answers: Mapping[int, Answer] = field(default_factory=lambda: {200: Answer("Object")})
    #: what else can go wrong; an error stands for all that are derived from it
    errors: tuple[type[LoraJobsError], ...] = ()
    #: statuses of the errors that HTTP itself knows
    http: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    #: the fields of a form that it takes too, and the name of the one that is a file
    form: type[BaseModel] | None = None
    file: str = "file"
    #: media types of the file that is the body
    files: tuple[str, ...] = ()
    #: None if the query is not looked at
    query: type[Query] | None = Query
    #: parameters of its signed URLs
    signed: tuple[str, ...] = ()
    #: names in `REQUEST_HEADERS`
    headers: tuple[str, ...] = ()


_WAITED = ("Retry-After", "Preference-Applied")
_ONE_JOB = (JobNotFound, RecordUnreadable)
_PLANNED = (RequestError, LoraFetchFailed, StorageUnavailable)
_SOURCED = (ImageFetchFailed, PipelineUnknown, UploadFailed)
_JOB = Answer("Job", maybe=("Retry-After",))
#: Of the pages that answer with pictures.
_MADE = ("X-Job-Id", "X-Should-Retry")
_PICTURE = {200: Answer("image/*", always=_MADE)}
_PICTURES = {200: Answer("Object", always=_MADE)}
#: What else a job that is submitted again can be refused for.
_REPEATED = (
    JobNotFinished,
    QueueFull,
    SourceLost,
    StorageUnavailable,
    UnknownModel,
    UploadFailed,
)
#: Of what is said to a worker.
_TOLD = Shape(answers={200: Answer("WorkerTold")}, errors=(WorkerNotFound, WorkerSilent))


def _prediction(body: type[BaseModel]) -> Shape:
    answers = {201: Answer("Object", always=("Location",))}
    return Shape(answers=answers, body=body, headers=("Prefer", "Idempotency-Key"))


_VALIDATORS = ("ETag", "Cache-Control", "Content-Disposition", "Accept-Ranges")
_OF_FILES = (*_VALIDATORS, "Last-Modified")
_FILE = Answer("image/*", always=_OF_FILES)
_PART = Answer("image/*", always=(*_OF_FILES, "Content-Range"))

#: By endpoint. A route without a row is described as an object and its common errors.
ROUTES: Mapping[str, Shape] = {
    "jobs.create": Shape(
        answers={
            200: Answer("JobOrDryRun", maybe=("Location", *_WAITED)),
            202: Answer("Job", always=("Location",), maybe=_WAITED),
        },
        errors=(*_PLANNED, *_SOURCED, *_ONE_JOB, QueueFull),
        body=JobRequest,
        query=SubmitQuery,
        headers=("Prefer", "Idempotency-Key"),
    ),
    "jobs.show": Shape(
        answers={200: Answer("Job", maybe=_WAITED)},
        errors=_ONE_JOB,
        query=WaitQuery,
        headers=("Prefer",),
    ),
    "jobs.index": Shape(
        answers={200: Answer("JobPage", maybe=("Link",))},
        errors=(UnknownModel, RecordUnreadable),
        query=JobQuery,
    ),
    "jobs.cancel": Shape(answers={200: _JOB, 202: _JOB}, errors=_ONE_JOB),
    "jobs.erase": Shape(
        answers={204: Answer()},
        errors=(*_ONE_JOB, JobNotFinished, StorageUnavailable),
    ),
    "jobs.output": Shape(
        answers={302: Answer(always=("Location",))}, errors=(*_ONE_JOB, OutputNotFound)
    ),
    "events.stream": Shape(
        answers={
            200: Answer("text/event-stream", of="Event", always=("X-Accel-Buffering",)),
            204: Answer(),
        },
        errors=(*_ONE_JOB, TooManyListeners),
        headers=("Last-Event-ID",),
    ),
    "deliveries.index": Shape(answers={200: Answer("Deliveries")}, errors=_ONE_JOB),
    "deliveries.redeliver": Shape(
        answers={202: Answer("Delivery")}, errors=(*_ONE_JOB, DeliveryNotFound)
    ),
    "models.index": Shape(answers={200: Answer("Models")}),
    "models.example": Shape(answers={200: Answer("image/*")}),
    "loras.index": Shape(answers={200: Answer("Loras")}),
    "loras.show": Shape(answers={200: Answer("Lora")}, errors=(LoraNotRegistered,)),
    "loras.register": Shape(
        answers={201: Answer("LoraOrUpload", always=("Location",))},
        errors=_PLANNED,
        body=RegisterRequest,
        form=UploadForm,
    ),
    "loras.complete": Shape(
        answers={200: Answer("Lora")},
        errors=(*_PLANNED, LoraNotRegistered, UploadAwaited),
    ),
    "loras.example": Shape(answers={200: Answer("image/*")}, errors=(LoraNotRegistered,)),
    "loras.remove": Shape(answers={204: Answer()}, errors=(LoraNotRegistered,)),
    "uploads.upload": Shape(
        answers={201: Answer("Lora", always=("Location",))},
        errors=_PLANNED,
        query=UploadQuery,
        files=(UPLOAD_TYPE,),
    ),
    "images.upload": Shape(
        answers={201: Answer("Image", always=("Location",))},
        errors=(ImageInvalid, ImageTooLarge, UploadFailed, StorageUnavailable),
        files=tuple(dict.fromkeys(CONTENT_TYPES.values())),
    ),
    "images.show": Shape(answers={200: Answer("Image")}, errors=(NoSuchImage,)),
    "images.remove": Shape(answers={204: Answer()}, errors=(NoSuchImage, StorageUnavailable)),
    "usage.index": Shape(answers={200: Answer("UsageReport")}, query=UsageQuery),
    "admin.overview": Shape(answers={200: Answer("Overview")}),
    "admin.drain": _TOLD,
    "admin.resume": _TOLD,
    "admin.purged": Shape(answers={200: Answer("Purged")}, errors=(UnknownModel,)),
    "admin.requeue": Shape(
        answers={202: Answer("Job", always=("Location",), maybe=("Retry-After",))},
        errors=(*_ONE_JOB, *_REPEATED),
    ),
    "health.alive": Shape(answers={200: Answer("Alive")}, query=None),
    "health.ready": Shape(answers={200: Answer("Ready")}, http=(503,), query=None),
    "metrics.index": Shape(answers={200: Answer("text/plain")}, query=None),
    "files.show": Shape(
        answers={200: _FILE, 206: _PART, 304: Answer(always=_VALIDATORS)},
        http=(403, 404, 416),
        query=None,
        signed=("expires", "signature"),
        headers=("Range", "If-None-Match"),
    ),
    "files.receive": Shape(
        answers={200: Answer()},
        errors=(UploadMismatch, UploadFailed),
        http=(403,),
        query=None,
        files=(UPLOAD_TYPE,),
        signed=("bytes", "sha256", "expires", "signature"),
    ),
    "webhooks.secret": Shape(answers={200: Answer("WebhookSecrets")}),
    "webhooks.rotate": Shape(answers={200: Answer("WebhookSecrets")}),
    "replicate.create": _prediction(VersionPrediction),
    "replicate.create_of_model": _prediction(ModelPrediction),
    "replicate.index": Shape(query=PredictionsQuery),
    "replicate.show": Shape(),
    "replicate.cancel": Shape(),
    "replicate.upload": Shape(answers={201: Answer("Object")}, form=FileForm, file="content"),
    "replicate.file": Shape(),
    "replicate.model": Shape(),
    "replicate.versions": Shape(),
    "replicate.version": Shape(),
    "replicate.webhook_secret": Shape(),
    "replicate.stream": Shape(answers={200: Answer("text/event-stream")}),
    "openai_images.generate": Shape(
        answers=_PICTURES, body=ImagesRequest, headers=("Idempotency-Key",)
    ),
    "openai_images.edit": Shape(
        answers=_PICTURES, form=ImagesRequest, file="image", headers=("Idempotency-Key",)
    ),
    "huggingface.default": Shape(
        answers=_PICTURE,
        body=TextToImage,
        headers=("lora", "Idempotency-Key"),
    ),
    "huggingface.of_model": Shape(
        answers=_PICTURE,
        body=TextToImage,
        headers=("lora", "Idempotency-Key"),
    ),
    "vllm_omni.complete": Shape(
        answers=_PICTURES,
        body=ChatRequest,
        headers=("Idempotency-Key",),
    ),
    "openapi.document": Shape(answers={200: Answer("Object")}, query=None),
}
