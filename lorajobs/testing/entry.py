"""A job in the memory of a store, with what its document does not show."""

from dataclasses import dataclass, field

from lorajobs.jobs import Job, JobStatus
from lorajobs.store import QueueRules


@dataclass
class Entry:
    """A job and its place: how long its lease runs, and when it may be tried again."""

    job: Job
    refunded: int = 0
    lease_ends_ms: int = 0
    ready_ms: int = 0
    #: who could not get what it needs
    refused_by: set[str] = field(default_factory=set)
    #: when it may be erased, if that was put off
    kept_until_ms: int = 0

    def score_us(self, rules: QueueRules) -> int:
        """Orders the queue, smaller first."""
        return 1000 * (self.job.created_ms - rules.head_start_ms(self.job.spec.priority))

    def kept_until(self, kept_ms: int) -> int:
        """When the ended job may be erased."""
        return self.kept_until_ms or (self.job.completed_ms or 0) + kept_ms

    def is_late(self, now_ms: int) -> bool:
        """True if the job waits for its first attempt past its deadline."""
        deadline_s = self.job.spec.start_deadline_s
        if deadline_s is None or self.job.attempt or self.job.status is not JobStatus.QUEUED:
            return False
        return now_ms >= self.job.created_ms + 1000 * deadline_s
