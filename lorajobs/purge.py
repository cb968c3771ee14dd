"""Every job that waits for a base is canceled, as an operator asks."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from lorajobs import logs
from lorajobs.errors import JobNotFound
from lorajobs.jobs import Job, JobStatus


class Canceling(Protocol):
    """Whoever cancels one."""

    def cancel(self, job_id: str) -> Job:
        """Raises: JobNotFound."""


def purge(store: Canceling, waiting: Sequence[str]) -> int:
    """Cancels the jobs of these ids; returns how many of them were, or are asked to stop.

    Raises: StoreUnavailable, and then some of them are.
    """
    canceled = 0
    for job_id in waiting:
        # One that was erased or has ended since was not canceled by this.
        with suppress(JobNotFound):
            job = store.cancel(job_id)
            logs.canceled(job)
            canceled += job.status is JobStatus.CANCELED or job.cancel_requested
    return canceled
