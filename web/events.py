"""`/v1/jobs/{id}/events`: what happens to a job, as Server-Sent Events."""

import json
import logging
import re
from collections.abc import Iterator

from flask import Blueprint, Response, request

from lorajobs.document import job_document, timestamp
from lorajobs.errors import FieldError, LoraJobsError, ValidationFailed
from lorajobs.events import Event, follow, has_all
from lorajobs.field_errors import shown
from lorajobs.jobs import Job
from web.caller import own_job
from web.deps import Deps, deps, public_url
from web.query import no_query

_log = logging.getLogger(__name__)

#: Milliseconds after which a client that was cut off comes again.
RETRY_MS = 1000
_ID = re.compile(r"\d{1,19}-\d{1,19}")

events = Blueprint("events", __name__, url_prefix="/v1/jobs")
events.before_request(no_query)


@events.get("/<job_id>/events")
def stream(job_id: str) -> Response:
    """Tells each event from the start, or after the one named by `Last-Event-ID`, to the end."""
    d, heard = deps(), _heard()
    job = own_job(job_id)
    if has_all(d.events, job, heard):
        # The answer that tells a browser not to come again.
        return Response(status=204)
    leave = d.seats.take()
    response = Response(_told(d, public_url(), job, heard), content_type="text/event-stream")
    response.call_on_close(leave)
    # A proxy that collects the answer would hold back every event.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _heard() -> str:
    heard = request.headers.get("Last-Event-ID", "")
    if heard and not _ID.fullmatch(heard):
        problem = f"give the `id` of an event, such as 1700000000000-0, not {shown(heard)}"
        raise ValidationFailed("", FieldError("Last-Event-ID", problem))
    return heard


def _told(d: Deps, public: str, job: Job, heard: str) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    try:
        for event in follow(d.events, d.store, job, heard, d.pace):
            # What cannot be written tells that the client is gone.
            yield _frame(d, public, job.id, event) if event else ": still here\n\n"
    except LoraJobsError as error:
        # The status is sent already. The client comes again, and is told then.
        _log.info("the events of job %s broke off: %s", job.id, error.detail)


def _frame(d: Deps, public: str, job_id: str, event: Event) -> str:
    if event.is_end:
        data = job_document(d.store.get(job_id), d.objects, public, None)
    else:
        data = {**event.fields, "at": timestamp(event.at_ms)}
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n"
