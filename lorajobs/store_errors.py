"""What can be wrong with what the store holds."""

from lorajobs.errors import LoraJobsError
from lorajobs.jobs import Lease


class RecordUnreadable(LoraJobsError):
    """A job's record was written by another version of lorajobs."""

    code, title, status = "record_unreadable", "The job's record cannot be read", 500

    def __init__(self, detail: str, lease: Lease | None = None) -> None:
        """`lease` is that of an attempt which cannot be run therefore."""
        super().__init__(detail)
        self.lease = lease
