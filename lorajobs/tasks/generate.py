"""The task that tickets name: one attempt at a claimed job."""

from typing import Any, ClassVar

from celery import shared_task
from celery.exceptions import Ignore, Retry

from lorajobs.attempt import Bench, run
from lorajobs.claim import TicketTask
from lorajobs.ending import Ending
from lorajobs.jobs import Lease
from lorajobs.tickets import TASK


class JobFailed(Exception):
    """What Flower shows of a job that failed."""


class GenerateTask(TicketTask):
    """The task in the child, with the bench that the child built when it started."""

    abstract = True
    bench: ClassVar[Bench]


@shared_task(bind=True, base=GenerateTask, name=TASK, max_retries=None)
def generate(self: GenerateTask, job_id: str, attempt: int, **_: Any) -> dict[str, str]:  # noqa: ANN401
    """Runs the attempt and tells Celery its end in Celery's terms.

    Raises: Retry after a requeue, Ignore after a cancellation or a lost lease, JobFailed.
    """
    with self.bench.busy:
        ending, reason = run(self.bench, Lease(job_id, attempt))
    if ending in (Ending.REQUEUED, Ending.HANDED_BACK):
        raise Retry(reason)
    if ending is Ending.CANCELED:
        self.send_event("task-revoked", terminated=False, signum=None, expired=False)
        raise Ignore
    if ending is Ending.LOST:
        raise Ignore
    if ending is Ending.FAILED:
        raise JobFailed(reason)
    return {"status": ending.value}
