"""Requests that are answered with the pictures themselves: the job submitted, awaited, read.

For surfaces whose clients know no jobs. Whatever becomes of the answer, the job goes on: its id is
in `X-Job-Id`, and the same request with the same Idempotency-Key finds it again.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from flask import Response, after_this_request

from lorajobs.errors import (
    EngineFailed,
    LoraJobsError,
    OutputNotFound,
    StorageUnavailable,
    StoreUnavailable,
)
from lorajobs.events import ended
from lorajobs.jobs import Job, JobError, JobStatus, Output
from lorajobs.request import JobRequest
from web.deps import deps, public_url
from web.submission import accept


class NotEndedInTime(LoraJobsError):
    """The job had not ended when the request had waited `sync_wait_s`; it goes on."""

    # Not retryable: to send it again would make another job.
    code, title, status = "not_ended_in_time", "The job has not ended yet", 504


class CanceledMeanwhile(LoraJobsError):
    """Somebody canceled the job while a request waited for its pictures."""

    code, title, status = "canceled_meanwhile", "The job was canceled", 410


class Picture(NamedTuple):
    """One picture of an ended job, as its file."""

    output: Output
    data: bytes


def made(body: JobRequest) -> Job:
    """Submits the job and returns it once it has succeeded.

    The place to wait is taken first, so that a refusal for want of one leaves no job behind.
    Raises: as `web.submission.accept`; TooManyListeners, NotEndedInTime, CanceledMeanwhile, and
    what the job failed with.
    """
    leave = deps().seats.take()
    try:
        job, _ = accept(body)
        after_this_request(_naming(job.id))
        job = finished(job, deps().settings.sync_wait_s)
    finally:
        leave()
    if job.status is JobStatus.CANCELED:
        raise CanceledMeanwhile(f"job {job.id} was canceled; nothing was made")
    if job.error:
        raise error_of(job.error)
    return job


def finished(job: Job, wait_s: float) -> Job:
    """The job once it has ended, however; who calls this holds a place of `web.seats`.

    Raises: NotEndedInTime, naming the job and how to go on; JobNotFound once it is erased.
    """
    d = deps()
    reason = f"not within {wait_s:g} s (LORAJOBS_SYNC_WAIT_S)"
    try:
        job = ended(d.events, d.store, job, wait_s, d.pace)
    except StoreUnavailable as error:
        reason = error.detail
    if job.status.is_terminal:
        return job
    if d.seats.closed():
        reason = "this process of the API ends"
    where = f"{public_url()}/v1/jobs/{job.id}"
    raise NotEndedInTime(f"job {job.id} goes on ({reason}); its pictures will be at GET {where}")


def pictures_of(job: Job) -> list[Picture]:
    """The job's pictures, read from the object store.

    Raises: OutputNotFound if they were erased meanwhile, StorageUnavailable.
    """
    return [Picture(output, _read(output)) for output in job.pictures]


def error_of(error: JobError) -> LoraJobsError:
    """What a job failed with, as if it had been raised here."""
    kinds = _kinds(LoraJobsError)
    # Its own code, for a class that groups others has that of all that have none.
    kind = next((k for k in kinds if vars(k).get("code") == error.code), EngineFailed)
    return kind(error.detail)


def _read(output: Output) -> bytes:
    try:
        return deps().objects.read(output.key, output.bytes)
    except FileNotFoundError as error:
        raise OutputNotFound("the picture was erased meanwhile") from error
    except OSError as error:
        raise StorageUnavailable(f"the picture could not be read: {error}") from error


def _kinds(base: type[LoraJobsError]) -> Iterator[type[LoraJobsError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _naming(job_id: str) -> Callable[[Response], Response]:
    def name(response: Response) -> Response:
        response.headers["X-Job-Id"] = job_id
        # OpenAI's clients repeat a request by themselves, which would make another job.
        response.headers["X-Should-Retry"] = "false"
        return response

    return name
