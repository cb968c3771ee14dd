"""What one round of the rescue moved: a line of the log for each job, and the sum."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from lorajobs import logs
from lorajobs.store import Rescued

#: What a job's new place is called in the log, by what the store says of it.
_EVENTS = {"queued": "rescued", "due": "requeued", "expired": "expired"}
#: Jobs that wait again, and so need a ticket.
_WAITING = ("queued", "due")


class Moved(NamedTuple):
    """One job that was moved."""

    #: its status now, `due` of one whose delay is over
    status: str
    job_id: str
    model: str
    request_id: str


def rescued(moved: Iterable[Moved]) -> Rescued:
    """Tells each, and adds them up."""
    again: Counter[str] = Counter()
    ended = 0
    for job in moved:
        waits = job.status in _WAITING
        again.update([job.model] if waits else [])
        ended += not waits
        level = logging.INFO if job.status == "due" else logging.WARNING
        with logs.about(job=job.job_id, base=job.model, request_id=job.request_id):
            logs.step(_EVENTS.get(job.status, job.status), level)
    return Rescued(again, ended)
