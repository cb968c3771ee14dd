"""Every error that reaches a user, each with a stable code.

LoraJobsError
├── RequestError                  422, nothing was accepted
│   ├── ValidationFailed          validation
│   ├── UnknownModel              unknown_model
│   ├── LoraNotFound              lora_not_found
│   ├── LoraBaseMismatch          lora_base_mismatch
│   ├── LoraSeveralFiles          lora_several_files
│   ├── LoraRefused               its file cannot be used; on a worker it ends the attempt
│   │   ├── LoraInvalidFile       lora_invalid_file
│   │   ├── LoraPickle            lora_pickle
│   │   ├── LoraTooLarge          lora_too_large
│   │   └── …                     what it holds, see `lora_errors.py`
│   ├── PathNotAllowed            path_not_allowed
│   ├── UrlNotAllowed             url_not_allowed
│   └── HubGated                  hub_gated
├── JobNotFound                   404 job_not_found
├── LoraNotRegistered             404 lora_not_registered
├── OutputNotFound                404 output_not_found
├── DeliveryNotFound              404 delivery_not_found
├── JobNotFinished                409 job_not_finished
├── MalformedBody                 400 malformed_body
├── QueueFull                     429 queue_full, retryable
├── StoreUnavailable              503 store_unavailable, retryable
├── StorageUnavailable            503 storage_unavailable, retryable
├── ConfigError                   config (a setting or lorajobs.toml is wrong)
└── AttemptError                  ends or repeats an attempt on a worker
    ├── LoraFetchFailed           lora_fetch_failed, retryable
    ├── LoraNotApplied            lora_not_applied
    ├── BadPicture                bad_picture
    ├── OutOfMemory               oom, retryable
    ├── UploadFailed              upload_failed, retryable
    ├── BaseLoadFailed            base_load_failed
    ├── BaseCorrupt               base_corrupt, retryable
    ├── WorkerLost                worker_lost
    ├── TimeLimit                 time_limit
    └── EngineFailed              internal
JobCanceled, LeaseLost            control flow of an attempt, never shown
NoRoomAhead                       control flow of the fetcher, never shown
"""

from typing import ClassVar, NamedTuple

from lorajobs.jobs import JobError, JobWarning


class FieldError(NamedTuple):
    """One wrong field: a JSON pointer into the body and what is allowed there."""

    pointer: str
    detail: str


class LoraJobsError(Exception):
    """Base of all errors; its class says code, HTTP status and whether trying again can help.

    Without a detail, the first wrong field's is the error's.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", *errors: FieldError) -> None:
        if errors and not detail:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            detail = f"{errors[0].pointer}: {errors[0].detail}{more}".removeprefix(": ")
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = errors

    def as_job_error(self) -> JobError:
        """What a failed job shows of this error."""
        return JobError(
            code=self.code, title=self.title, detail=self.detail, retryable=self.retryable
        )

    def as_skipped(self) -> JobWarning:
        """What a job that went on without the adapter shows of its fault."""
        return JobWarning(code="lora_skipped", detail=f"{self.detail} ({self.code})")


class RequestError(LoraJobsError):
    """The request cannot be accepted as it stands."""

    status = 422


class ValidationFailed(RequestError):
    """Fields are missing, unknown, of the wrong type or out of range."""

    code, title = "validation", "The request has invalid fields"


class UnknownModel(RequestError):
    """`model` is neither a base model nor a registered adapter."""

    code, title = "unknown_model", "Unknown model"


class LoraNotFound(RequestError):
    """No adapter is registered or found under this id or reference."""

    code, title = "lora_not_found", "Adapter not found"


class LoraBaseMismatch(RequestError):
    """The adapter was made for another base model."""

    code, title = "lora_base_mismatch", "The adapter does not fit the base model"


class LoraSeveralFiles(RequestError):
    """The source holds several weight files and the request names none."""

    code, title = "lora_several_files", "Several weight files"


class LoraRefused(RequestError):
    """The adapter's file cannot be used; base of the reasons, none of which passes by itself."""


class LoraInvalidFile(LoraRefused):
    """The file is not a readable safetensors adapter."""

    code, title = "lora_invalid_file", "Not a valid adapter file"


class LoraPickle(LoraRefused):
    """The weights are a pickle, which can run code when it is read."""

    code, title = "lora_pickle", "Pickled weights are refused"


class LoraTooLarge(LoraRefused):
    """The adapter is larger than `lora_max_bytes`, or than all of `disk_cache_gb`."""

    code, title = "lora_too_large", "Adapter too large"


class PathNotAllowed(RequestError):
    """The server-side path lies outside `lora_roots`."""

    code, title = "path_not_allowed", "Path not allowed"


class UrlNotAllowed(RequestError):
    """The URL's scheme, host, bucket or address is not allowed."""

    code, title = "url_not_allowed", "URL not allowed"


class HubGated(RequestError):
    """The repository on the hub is gated, private or missing."""

    code, title = "hub_gated", "Repository gated, private or missing"


class JobNotFound(LoraJobsError):
    """No job has this id."""

    code, title, status = "job_not_found", "No such job", 404


class LoraNotRegistered(LoraJobsError):
    """No adapter is registered under the id in the URL."""

    code, title, status = "lora_not_registered", "No such adapter", 404


class OutputNotFound(LoraJobsError):
    """The job has no output of this number."""

    code, title, status = "output_not_found", "No such output", 404


class JobNotFinished(LoraJobsError):
    """The job still waits or runs; cancel it first."""

    code, title, status = "job_not_finished", "The job has not ended", 409


class MalformedBody(LoraJobsError):
    """The body is not a JSON object sent as application/json."""

    code, title, status = "malformed_body", "The body is not JSON", 400


class StoreUnavailable(LoraJobsError):
    """Redis does not answer; nothing is known to be accepted."""

    code, title, status, retryable = "store_unavailable", "The job store is unavailable", 503, True


class StorageUnavailable(LoraJobsError):
    """The object store does not answer."""

    code, title, status, retryable = "storage_unavailable", "The storage is unavailable", 503, True


class QueueFull(LoraJobsError):
    """So many jobs wait for this base model that no more are accepted."""

    code, title, status, retryable = "queue_full", "Too many jobs wait", 429, True


class ConfigError(LoraJobsError):
    """A setting or `lorajobs.toml` is wrong; the message names the key."""

    code, title = "config", "The configuration is wrong"


class AttemptError(LoraJobsError):
    """An attempt failed on a worker; the job is repeated if `retryable` and attempts are left."""


class LoraFetchFailed(AttemptError):
    """The adapter could not be brought to the worker's disk."""

    code, title, retryable = "lora_fetch_failed", "The adapter could not be fetched", True


class LoraNotApplied(AttemptError):
    """The adapter did not reach the base model, so no picture may claim it."""

    code, title = "lora_not_applied", "The adapter had no effect"


class BadPicture(AttemptError):
    """The pipeline made a picture that is constant or not a number."""

    code, title = "bad_picture", "The picture is constant or not finite"


class OutOfMemory(AttemptError):
    """The device or host ran out of memory."""

    code, title, retryable = "oom", "Out of memory", True


class UploadFailed(AttemptError):
    """The object store did not take the picture."""

    code, title, retryable = "upload_failed", "Upload failed", True


class BaseLoadFailed(AttemptError):
    """The base model could not be loaded."""

    code, title = "base_load_failed", "The base model could not be loaded"


class BaseCorrupt(AttemptError):
    """Weights in memory are not what was written there, so the base must be loaded again."""

    code, title, retryable = "base_corrupt", "The base model is damaged in memory", True


class WorkerLost(AttemptError):
    """The worker died on every attempt."""

    code, title = "worker_lost", "The worker was lost"


class TimeLimit(AttemptError):
    """The job ran longer than `max_runtime_s`."""

    code, title = "time_limit", "The job ran too long"


class DeadlineExceeded(AttemptError):
    """The job did not start within its `start_deadline_s`."""

    code, title = "deadline_exceeded", "The job did not start in time"


class EngineFailed(AttemptError):
    """The pipeline raised; the detail carries its message."""

    code, title = "internal", "Generation failed"


class JobCanceled(Exception):
    """Raised at a denoise step once the job was asked to stop."""


class WorkerStopping(Exception):
    """The worker shuts down: the attempt stops and its job goes back."""


class NoRoomAhead(Exception):
    """Raised for an adapter fetched ahead while other waiting jobs need all of the disk's room."""


class LeaseLost(Exception):
    """Raised when the job belongs to a newer attempt: stop and write nothing."""
