"""A planned job into the store and onto the queue of its base."""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Protocol

from lorajobs.catalog import Catalog
from lorajobs.errors import JobNotFinished, StoreUnavailable
from lorajobs.jobs import Job, JobStatus
from lorajobs.plan import Plan
from lorajobs.store import JobStore

_log = logging.getLogger(__name__)


class Tickets(Protocol):
    """What submitting asks of the broker."""

    def envelope(self, queue: str) -> Mapping[str, str] | None:
        """A ticket that the store itself pushes; None if the broker is another server."""

    def publish(self, queue: str) -> None:
        """Sends a ticket.

        Raises: StoreUnavailable.
        """


def submit(plan: Plan, store: JobStore, queue: Tickets) -> Job:
    """Writes and queues the job, and returns it as the store has it.

    Raises: StoreUnavailable, and then it is not known whether the job was accepted.
    """
    job = Job(
        id=str(uuid.uuid4()),
        status=JobStatus.QUEUED,
        spec=plan.spec,
        created_ms=time.time_ns() // 1_000_000,
        warnings=plan.warnings,
    )
    ticket = queue.envelope(plan.queue)
    store.submit(job, ticket)
    try:
        if ticket is None:
            queue.publish(plan.queue)
        return store.get(job.id)
    except StoreUnavailable as error:
        # The job is in: an error would make the client submit it twice. The courier mints its
        # ticket.
        _log.warning("job %s was accepted, but: %s", job.id, error.detail)
        return job


def resubmit(job_id: str, catalog: Catalog, store: JobStore, queue: Tickets) -> Job:
    """Submits an ended job again under a new id, with `retry_of` its old one.

    Raises: JobNotFound, JobNotFinished, ConfigError if its base is configured no more, QueueFull,
    StoreUnavailable.
    """
    job = store.get(job_id)
    if not job.status.is_terminal:
        raise JobNotFinished(f"job {job_id} is {job.status}; only an ended job is submitted again")
    spec = job.spec.model_copy(update={"retry_of": job_id})
    return submit(Plan(spec, job.warnings, catalog.require(spec.model).queue), store, queue)
