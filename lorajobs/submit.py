"""A planned job into the store and onto the queue of its base."""

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from lorajobs import logs
from lorajobs.catalog import Catalog
from lorajobs.errors import JobNotFinished, JobNotFound, QueueFull, RequestError, StoreUnavailable
from lorajobs.jobs import Job, JobStatus
from lorajobs.place import NOBODY, Crew, Place
from lorajobs.plan import Plan
from lorajobs.store import JobStore
from lorajobs.terms import DEFAULT_TERMS, Terms

_log = logging.getLogger(__name__)


class Tickets(Protocol):
    """What submitting asks of the broker."""

    def envelope(self, queue: str) -> Mapping[str, str] | None:
        """A ticket that the store itself pushes; None if the broker is another server."""

    def publish(self, queue: str) -> None:
        """Sends a ticket.

        Raises: StoreUnavailable.
        """


class JobSources(Protocol):
    """Where the pictures lie that jobs start from."""

    def of(self, job: Job) -> bytes | None:
        """A job's PNG, None if it starts from text alone.

        Raises: SourceLost, StorageUnavailable.
        """

    def keep(self, job: Job, png: bytes) -> None:
        """Stores the PNG of a job that is about to be submitted.

        Raises: UploadFailed, StoreUnavailable.
        """

    def discard(self, job: Job) -> None:
        """Erases the PNG of a job that was not accepted, now or a little later."""


def submit(
    plan: Plan,
    store: JobStore,
    queue: Tickets,
    crew: Crew = NOBODY,
    terms: Terms = DEFAULT_TERMS,
    sources: JobSources | None = None,
) -> tuple[Job, Place | None]:
    """Writes and queues the job, and returns it as the store has it, with its place.

    `crew` serves its base now; what `terms` know already is the job of that time; `sources`
    keep the picture that it starts from.
    Raises: QueueFull, IdempotencyMismatch, JobNotFound for one that was erased; UploadFailed;
    StoreUnavailable, and then it is not known whether the job was accepted.
    """
    job = Job(
        id=str(uuid.uuid4()),
        status=JobStatus.QUEUED,
        spec=plan.spec.model_copy(update={"request_id": logs.request_id()}),
        created_ms=0,
        steps=plan.spec.all_steps,
        warnings=plan.warnings,
    )
    ticket = queue.envelope(plan.queue)
    with _kept(job, plan.source, sources):
        submitted = store.submit(job, ticket, window_us=plan.window_us, crew=crew, terms=terms)
    try:
        if ticket is None:
            queue.publish(plan.queue)
    except StoreUnavailable as error:
        # The job is in: an error would make the client submit it twice. The courier mints its
        # ticket.
        _log.warning("job %s was accepted, but: %s", job.id, error.detail)
    place = submitted.place
    if submitted.job_id != job.id:
        if plan.source and sources:
            sources.discard(job)
        return store.get(submitted.job_id), place
    told = {
        "created_ms": submitted.created_ms,
        "predicted_s": place.starts_in_s(crew) if place else None,
    }
    with logs.about_job(job):
        logs.step(
            "accepted", priority=job.spec.priority, position=place.position if place else None
        )
    return job.model_copy(update=told), place


@contextmanager
def _kept(job: Job, source: bytes | None, sources: JobSources | None) -> Iterator[None]:
    """The picture lies beside its job before anybody can claim that, unless it is refused."""
    if source is None:
        yield
        return
    assert sources, "who plans with pictures has a place for them"
    sources.keep(job, source)
    try:
        yield
    except (QueueFull, RequestError, JobNotFound):
        # After any other error the job may be there.
        sources.discard(job)
        raise


def resubmit(
    job_id: str, catalog: Catalog, store: JobStore, queue: Tickets, sources: JobSources
) -> Job:
    """Submits an ended job again under a new id, with `retry_of` its old one.

    Raises: JobNotFound, JobNotFinished, ConfigError if its base is configured no more, QueueFull,
    SourceLost, StorageUnavailable, UploadFailed, StoreUnavailable.
    """
    job = store.get(job_id)
    if not job.status.is_terminal:
        raise JobNotFinished(f"job {job_id} is {job.status}; only an ended job is submitted again")
    spec = job.spec.model_copy(update={"retry_of": job_id})
    entry = catalog.require(spec.model)
    plan = Plan(spec, job.warnings, entry.queue, entry.window_us, sources.of(job))
    again, _ = submit(plan, store, queue, sources=sources)
    return again
