"""A planned job into the store and onto the queue of its base."""

import logging
import uuid
from collections.abc import Mapping
from typing import Protocol

from lorajobs.catalog import Catalog
from lorajobs.errors import JobNotFinished, StoreUnavailable
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


def submit(
    plan: Plan,
    store: JobStore,
    queue: Tickets,
    crew: Crew = NOBODY,
    terms: Terms = DEFAULT_TERMS,
) -> tuple[Job, Place | None]:
    """Writes and queues the job, and returns it as the store has it, with its place.

    `crew` serves its base now; what `terms` know already is the job of that time.
    Raises: QueueFull, IdempotencyMismatch, JobNotFound for one that was erased; StoreUnavailable,
    and then it is not known whether the job was accepted.
    """
    job = Job(
        id=str(uuid.uuid4()),
        status=JobStatus.QUEUED,
        spec=plan.spec,
        created_ms=0,
        steps=plan.spec.num_inference_steps * plan.spec.num_images,
        warnings=plan.warnings,
    )
    ticket = queue.envelope(plan.queue)
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
        return store.get(submitted.job_id), place
    told = {
        "created_ms": submitted.created_ms,
        "predicted_s": place.starts_in_s(crew) if place else None,
    }
    return job.model_copy(update=told), place


def resubmit(job_id: str, catalog: Catalog, store: JobStore, queue: Tickets) -> Job:
    """Submits an ended job again under a new id, with `retry_of` its old one.

    Raises: JobNotFound, JobNotFinished, ConfigError if its base is configured no more, QueueFull,
    StoreUnavailable.
    """
    job = store.get(job_id)
    if not job.status.is_terminal:
        raise JobNotFinished(f"job {job_id} is {job.status}; only an ended job is submitted again")
    spec = job.spec.model_copy(update={"retry_of": job_id})
    entry = catalog.require(spec.model)
    again, _ = submit(Plan(spec, job.warnings, entry.queue, entry.window_us), store, queue)
    return again
