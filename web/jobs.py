"""`/v1/jobs`: submit, look, list, cancel, erase, fetch a picture."""

import base64
import logging
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request

from lorajobs.document import job_document
from lorajobs.errors import (
    FieldError,
    JobNotFinished,
    OutputNotFound,
    StorageUnavailable,
    StoreUnavailable,
    UnknownModel,
    ValidationFailed,
)
from lorajobs.field_errors import listed, shown
from lorajobs.job_page import JobFilter, JobPage
from lorajobs.jobs import Job, JobStatus, Withheld
from lorajobs.queries import JobQuery, SubmitQuery, WaitQuery
from lorajobs.request import JobRequest
from web.body import json_body
from web.caller import caller, own_job, terms_of
from web.deps import deps, public_url
from web.dry_run import outlook
from web.submission import accept, planned, waiting
from web.waiting import asks_to_wait, await_end

_log = logging.getLogger(__name__)

#: Seconds between two looks at a job that a client is asked to leave.
POLL_S = 1

jobs = Blueprint("jobs", __name__, url_prefix="/v1/jobs")


@jobs.post("")
def create() -> Response:
    """Accepts a job."""
    query = SubmitQuery.parse(request.args.to_dict(flat=False))
    body = JobRequest.parse(json_body())
    if query.dry_run:
        return outlook(planned(body), terms_of(body))
    job, queue = accept(body)
    now = await_end(job, query.wait)
    if now is not job:
        queue = waiting(now)
    # Who does not wait is told the same each time that the same submit is sent.
    status = 200 if now.status.is_terminal and asks_to_wait(query.wait) else 202
    response = _respond(now, job_document(now, deps().objects, public_url(), queue), status)
    response.location = public_url() + _path(job)
    return response


@jobs.get("/<job_id>")
def show(job_id: str) -> Response:
    """Shows a job."""
    query = WaitQuery.parse(request.args.to_dict(flat=False))
    return _answer(await_end(own_job(job_id), query.wait))


@jobs.get("")
def index() -> Response:
    """Lists jobs, newest first."""
    query = JobQuery.parse(request.args.to_dict(flat=False))
    page = _page(query)
    cursor = _opaque(page.cursor) if page.cursor else None
    response = jsonify(jobs=[_document(job) for job in page.jobs], next_cursor=cursor)
    if cursor:
        more = query.model_dump(mode="json", exclude_none=True) | {"cursor": cursor}
        response.headers["Link"] = f'<{public_url()}/v1/jobs?{urlencode(more)}>; rel="next"'
    return response


@jobs.post("/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Ends a waiting job (200), asks a running one to stop (202), leaves an ended one (200)."""
    d = deps()
    if not caller().sees_all:
        own_job(job_id)
    job = d.store.cancel(job_id)
    if job.status is JobStatus.RUNNING:
        try:
            d.push_cancel(job)
        except StoreUnavailable as error:
            # The request is recorded; the worker sees it when it next renews its lease.
            _log.warning("job %s: the cancel was not pushed: %s", job.id, error.detail)
    return _answer(job, 200 if job.status.is_terminal else 202)


@jobs.delete("/<job_id>")
def erase(job_id: str) -> Response:
    """Erases an ended job and its pictures."""
    d = deps()
    job = own_job(job_id)
    if not job.status.is_terminal:
        raise JobNotFinished(f"the job is {job.status}; cancel it first: POST {_path(job)}/cancel")
    try:
        # The pictures first: if this fails, the record still tells where they are.
        d.objects.delete(job.folder)
    except OSError as error:
        raise StorageUnavailable(f"the pictures could not be erased: {error}") from error
    d.store.delete(job_id)
    return Response(status=204)


@jobs.get("/<job_id>/outputs/<int:index>")
def output(job_id: str, index: int) -> Response:
    """Leads to a picture by a freshly signed URL."""
    d = deps()
    job = own_job(job_id)
    found = next((o for o in job.outputs if o.index == index), None)
    if found is None:
        have = f"it has {len(job.outputs)}, counted from 0"
        raise OutputNotFound(f"the job is {job.status} and has no output {index}: {have}")
    if isinstance(found, Withheld):
        raise OutputNotFound(f"picture {index} was withheld: a checker flagged it")
    return Response(status=302, headers={"Location": d.objects.url(found.key).url})


def _path(job: Job) -> str:
    return f"/v1/jobs/{job.id}"


def _document(job: Job) -> dict[str, object]:
    return job_document(job, deps().objects, public_url(), waiting(job))


def _answer(job: Job, status: int = 200) -> Response:
    return _respond(job, _document(job), status)


def _respond(job: Job, document: dict[str, object], status: int) -> Response:
    response = jsonify(document)
    response.status_code = status
    if not job.status.is_terminal:
        response.headers["Retry-After"] = str(POLL_S)
    return response


def _page(query: JobQuery) -> JobPage:
    d, who = deps(), caller()
    owner = None if who.sees_all else who.owner
    where = JobFilter(query.status, _model(query), query.lora, owner)
    try:
        cursor = _transparent(query.cursor) if query.cursor else None
        return d.store.page(where, query.limit, cursor)
    except ValueError as error:
        allowed = "give the `next_cursor` of the page before"
        raise ValidationFailed("", FieldError("/cursor", allowed)) from error


def _model(query: JobQuery) -> str | None:
    """The id of the base model that is asked for."""
    if query.model is None:
        return None
    catalog = deps().catalog
    if entry := catalog.model(query.model):
        return entry.id
    known = listed(query.model, catalog.names)
    detail = f"no base model is called {shown(query.model)}; known are {known}"
    raise UnknownModel(detail, FieldError("/model", detail))


def _opaque(cursor: str) -> str:
    """The store's cursor in a form that nobody is tempted to take apart."""
    return base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=")


def _transparent(cursor: str) -> str:
    padded = cursor.encode() + b"=" * (-len(cursor) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
