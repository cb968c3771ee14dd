"""What happens to a job, for those who listen to it live or wait for its end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from lorajobs.jobs import Job, JobStatus

#: The event that is no change of status: stage, step and steps of a running job.
PROGRESS = "progress"
_ENDS = frozenset(status for status in JobStatus if status.is_terminal)


class Event(NamedTuple):
    """One thing that happened to a job."""

    #: `<Unix milliseconds>-<number>`, rising
    id: str
    #: the new status, or `progress`
    kind: str
    #: `attempt` of a job that runs; `stage`, `step` and `steps` of a progress
    fields: Mapping[str, str | int]

    @property
    def is_end(self) -> bool:
        """True if nothing can happen after it."""
        return self.kind in _ENDS

    @property
    def at_ms(self) -> int:
        """When, by the store's clock."""
        return moment_of(self.id)


class EventLog(Protocol):
    """The events of every job, each kept until a day after the last one of its job."""

    def events(self, job_id: str, after: str, block_s: float) -> Sequence[Event]:
        """Those after the event `after`, all if it is empty, oldest first.

        While there is none, waits for the next up to `block_s` seconds. A job that is not known
        has none. Raises: StoreUnavailable.
        """


class Jobs(Protocol):
    """Where listeners look a job up."""

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound, StoreUnavailable."""


class Pace(NamedTuple):
    """How long a listener waits at a time, and when it has to leave."""

    #: seconds between two signs of life
    beat_s: float
    #: True once this process is about to end
    leaving: Callable[[], bool]


def moment_of(event_id: str) -> int:
    """The Unix milliseconds in an event's id."""
    return int(event_id.partition("-")[0])


def end_of(job: Job) -> Event:
    """The last event of an ended job, also once its log is gone."""
    return Event(f"{job.completed_ms}-0", job.status.value, {})


def has_all(log: EventLog, job: Job, heard: str) -> bool:
    """True if the job has ended and who heard up to the event `heard` has heard that.

    Raises: StoreUnavailable.
    """
    if not heard or job.completed_ms is None or moment_of(heard) < job.completed_ms:
        return False
    return not log.events(job.id, heard, 0)


def follow(log: EventLog, jobs: Jobs, job: Job, after: str, pace: Pace) -> Iterator[Event | None]:
    """The events after `after` as they happen, to the job's end; None at each beat without one.

    Raises: JobNotFound once the job is erased, StoreUnavailable.
    """
    while not pace.leaving():
        ended = job.status.is_terminal
        found = log.events(job.id, after, 0 if ended else pace.beat_s)
        for event in found:
            yield event
            if event.is_end:
                return
        if found:
            after = found[-1].id
        elif ended:
            yield end_of(job)
            return
        else:
            yield None
            job = jobs.get(job.id)


def ended(log: EventLog, jobs: Jobs, job: Job, wait_s: float, pace: Pace) -> Job:
    """The job once it has ended, or as it is after `wait_s` seconds.

    Raises: JobNotFound once the job is erased, StoreUnavailable.
    """
    after, ends_at = "", time.monotonic() + wait_s
    while not (job.status.is_terminal or pace.leaving()):
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            return jobs.get(job.id)
        found = log.events(job.id, after, min(left_s, pace.beat_s))
        if found:
            after = found[-1].id
        if not found or found[-1].is_end:
            job = jobs.get(job.id)
    return job
