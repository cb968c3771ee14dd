"""A worker is told to take no more jobs, or to take them again."""

from celery import Celery
from kombu.exceptions import OperationalError

from lorajobs.errors import StoreUnavailable

DRAIN, RESUME = "drain_worker", "resume_worker"


class DrainCall:
    """Speaks to one worker through Celery's remote control, and waits for its answer."""

    def __init__(self, app: Celery, timeout_s: float = 5.0) -> None:
        self._app = app
        self._timeout_s = timeout_s

    def __call__(self, worker: str, command: str) -> bool:
        """Sends DRAIN or RESUME; False if the worker did not answer.

        Raises: StoreUnavailable if the broker does not answer.
        """
        try:
            replies = self._app.control.broadcast(
                command, destination=[worker], reply=True, timeout=self._timeout_s, limit=1
            )
        except (OperationalError, *self._app.connection_for_write().connection_errors) as error:
            raise StoreUnavailable(f"the broker does not answer: {error}") from error
        return bool(replies)
