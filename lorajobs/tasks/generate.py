"""The task that tickets name: one attempt at a claimed job."""

import logging
from typing import Any, ClassVar

from celery import Celery, shared_task
from celery.exceptions import Ignore, Retry

from lorajobs.attempt import Bench, Tell
from lorajobs.claim import TicketTask
from lorajobs.ending import Ending
from lorajobs.engine.base import DeviceFault
from lorajobs.jobs import Lease
from lorajobs.report import AttemptReport
from lorajobs.run import run
from lorajobs.tickets import TASK

log = logging.getLogger(__name__)

_EVENTS = {
    Ending.SUCCEEDED: "task-succeeded",
    Ending.REQUEUED: "task-retried",
    Ending.FAILED: "task-failed",
}


class JobFailed(Exception):
    """What Flower shows of a job that failed."""


class GenerateTask(TicketTask):
    """The task in the child, with the bench that the child built when it started."""

    abstract = True
    bench: ClassVar[Bench]


@shared_task(bind=True, base=GenerateTask, name=TASK, max_retries=None, throws=(JobFailed,))
def generate(self: GenerateTask, job_id: str, attempt: int, **_: Any) -> dict[str, str]:  # noqa: ANN401
    """Runs the attempt and tells Celery its end in Celery's terms, unless `told_by` does.

    Raises: Retry after a requeue, Ignore after a cancellation or a lost lease, JobFailed.
    """
    try:
        with self.bench.busy:
            end = run(self.bench, Lease(job_id, attempt))
    except DeviceFault as error:
        self.bench.finisher.end_process(error)
        raise
    if end is None:
        return {"status": "finishing"}
    ending, reason = end
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


def told_by(app: Celery, worker: str) -> Tell:
    """Tells those who watch Celery's events, as Flower does, of what ended after its task."""

    def tell(lease: Lease, report: AttemptReport, reason: str) -> None:
        event = _EVENTS.get(report.ending)
        if event is None:
            return
        told: dict[str, object] = {"exception": reason}
        if report.ending is Ending.SUCCEEDED:
            told = {"result": repr({"status": "succeeded"}), "runtime": report.service_s}
        try:
            with app.events.default_dispatcher(hostname=worker) as dispatcher:
                dispatcher.send(event, uuid=lease.job_id, retry=True, **told)
        except Exception as error:
            # Nobody but a watcher misses it: the store knows.
            log.warning("job %s: %s not told: %s", lease.job_id, event, error)

    return tell
