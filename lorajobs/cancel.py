"""A cancellation is pushed to the worker that runs the job, to be seen at its next step."""

from celery import Celery
from kombu.exceptions import OperationalError

from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Job

COMMAND = "cancel_job"


class CancelPush:
    """Speaks to workers through Celery's remote control."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __call__(self, job: Job) -> None:
        """Tells the worker; should this be lost, it hears of it at its next renewal.

        Raises: StoreUnavailable if the broker does not answer.
        """
        if job.worker is None:
            return
        arguments = {"job_id": job.id, "attempt": job.attempt}
        try:
            self._app.control.broadcast(COMMAND, arguments, destination=[job.worker])
        except OperationalError as error:  # kombu's word for whatever a transport raises
            raise StoreUnavailable(f"the broker does not answer: {error}") from error
