"""Requests that are answered once their job has ended: `?wait=n` and `Prefer: wait=n`."""

import logging
import re

from flask import Response, after_this_request, request

from lorajobs.errors import StoreUnavailable
from lorajobs.events import ended
from lorajobs.jobs import Job
from lorajobs.request import MAX_WAIT_S
from web.deps import deps
from web.seats import TooManyListeners

_log = logging.getLogger(__name__)

_PREFERENCE = re.compile(r'\s*wait\s*(?:=\s*"?(\d{1,9})"?\s*)?(?:;.*)?', re.IGNORECASE)


def await_end(job: Job, asked_s: float | None) -> Job:
    """The job once it has ended, or as it is after the time that the request would wait.

    `asked_s` is the query's; without it the header `Prefer` counts (RFC 7240). A wish is not
    granted while too many others wait, and nothing says that it was.
    Raises: JobNotFound once the job is erased.
    """
    preference_s = preferred_s() if asked_s is None else None
    wait_s = asked_s if preference_s is None else preference_s
    if not wait_s or job.status.is_terminal:
        return job
    d = deps()
    try:
        leave = d.seats.take()
    except TooManyListeners:
        return job
    try:
        job = ended(d.events, d.store, job, wait_s, d.pace)
    except StoreUnavailable as error:
        # The job is in: an error would make the client of a submit send it twice.
        _log.warning("job %s was not waited for: %s", job.id, error.detail)
        return job
    finally:
        leave()
    if preference_s is not None:
        after_this_request(_applied)
    return job


def asks_to_wait(asked_s: float | None) -> bool:
    """True if the query or else the header says so, whether or not there was need to."""
    return bool(preferred_s() if asked_s is None else asked_s)


def preferred_s(bare_s: int | None = None) -> int | None:
    """What `Prefer` asks for, at most what we grant; of several the first counts.

    `bare_s` is what a `wait` without a number means: by RFC 7240 nothing, elsewhere something.
    """
    for wish in ",".join(request.headers.getlist("Prefer")).split(","):
        found = _PREFERENCE.fullmatch(wish)
        asked_s = (int(found[1]) if found[1] else bare_s) if found else None
        if asked_s is not None:
            return min(asked_s, MAX_WAIT_S)
    return None


def _applied(response: Response) -> Response:
    response.headers["Preference-Applied"] = f"wait={preferred_s()}"
    return response
