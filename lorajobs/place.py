"""Where a job stands in its queue, and when it will start."""

from typing import NamedTuple


class Crew(NamedTuple):
    """Who serves a base."""

    workers: int
    #: of these, those that have no job
    idle: int


NOBODY = Crew(0, 0)


class Place(NamedTuple):
    """Where a waiting job stands in its queue."""

    #: jobs before it
    position: int
    #: jobs that may run before it: those and all that may still overtake it
    ahead_max: int
    #: True if it waits for its next attempt
    delayed: bool
    #: mean seconds that a job of this base runs, None if none has ended yet
    service_s: float | None

    def starts_in_s(self, crew: Crew) -> float | None:
        """When the job is expected to start, None if nobody can tell."""
        if not crew.workers or self.service_s is None:
            return None
        if self.position < crew.idle:
            return 0.0
        # On average the running jobs are half done.
        ahead = self.position - crew.idle
        return round(self.service_s * (ahead / crew.workers + 0.5), 1)


class Submitted(NamedTuple):
    """The store's answer to a submit."""

    created_ms: int
    #: False if the job was there already, as after a lost reply
    is_new: bool
    #: None if the job waits no more
    place: Place | None
    #: the submitted job's, or that of an earlier one that was meant
    job_id: str
