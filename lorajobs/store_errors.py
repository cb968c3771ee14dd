"""What can be wrong with what the store holds."""

from lorajobs.errors import LoraJobsError


class RecordUnreadable(LoraJobsError):
    """A job's record was written by another version of lorajobs."""

    code, title, status = "record_unreadable", "The job's record cannot be read", 500
