"""The one way to cancel a job, for every surface of the API."""

import logging

from lorajobs import logs
from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Job, JobStatus
from web.caller import caller, own_job
from web.deps import deps

_log = logging.getLogger(__name__)


def canceled(job_id: str) -> Job:
    """The job after it was asked to end: a waiting one has, one that had ended is as it was.

    Raises: JobNotFound, StoreUnavailable.
    """
    d = deps()
    if not caller().sees_all:
        own_job(job_id)
    job = d.store.cancel(job_id)
    logs.canceled(job)
    if job.status is JobStatus.RUNNING:
        try:
            d.push_cancel(job)
        except StoreUnavailable as error:
            # The request is recorded; the worker sees it when it next renews its lease.
            _log.warning("job %s: the cancel was not pushed: %s", job.id, error.detail)
    return job
