"""What a listing of jobs shows."""

from collections.abc import Sequence
from typing import NamedTuple

from lorajobs.jobs import Job, JobStatus


class JobFilter(NamedTuple):
    """Which jobs a listing shows; None matches all."""

    status: JobStatus | None = None
    model: str | None = None
    lora: str | None = None
    #: the API key that it belongs to
    owner: str | None = None

    def matches(self, job: Job) -> bool:
        """True if the job belongs into the listing."""
        return (
            (self.owner is None or job.spec.owner == self.owner)
            and (self.status is None or job.status == self.status)
            and (self.model is None or job.spec.model == self.model)
            and (self.lora is None or any(use.adapter.id == self.lora for use in job.spec.loras))
        )


class JobPage(NamedTuple):
    """One page of jobs, newest first, and the cursor of the next or None."""

    jobs: Sequence[Job]
    cursor: str | None
