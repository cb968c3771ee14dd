"""How an attempt ended, and what becomes of its job by that."""

from enum import Enum

from lorajobs.jobs import JobStatus


class Ending(Enum):
    """What an attempt came to; the first three end its job too."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REQUEUED = "requeued"
    HANDED_BACK = "handed_back"
    LOST = "lost"

    @classmethod
    def after_requeue(cls, status: JobStatus | None, *, refund: bool) -> "Ending":
        """What the store's answer to a requeue means; None is that another attempt owns the job."""
        if status is None:
            return cls.LOST
        if status is JobStatus.QUEUED:
            return cls.HANDED_BACK if refund else cls.REQUEUED
        return cls(status.value)
