"""`/v1/jobs`: submit, look, list, cancel, erase, fetch a picture."""

from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request

from lorajobs.document import job_document
from lorajobs.errors import (
    FieldError,
    JobNotFinished,
    OutputNotFound,
    StorageUnavailable,
    UnknownModel,
)
from lorajobs.field_errors import listed, shown
from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, Withheld
from lorajobs.queries import JobQuery, SubmitQuery, WaitQuery
from lorajobs.request import JobRequest
from web.body import json_body
from web.caller import own_job, terms_of
from web.cancellation import canceled
from web.deps import deps, public_url
from web.dry_run import outlook
from web.paging import page_of
from web.query import no_query
from web.submission import accept, planned, waiting
from web.waiting import asks_to_wait, await_end

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
    base = public_url()
    response = _respond(now, job_document(now, deps().objects, base, queue), status)
    response.location = base + _path(job)
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
    where = JobFilter(query.status, _model(query), query.lora, query.owner)
    page = page_of(where, query.limit, query.cursor)
    response = jsonify(jobs=[_document(job) for job in page.jobs], next_cursor=page.cursor)
    if page.cursor:
        more = query.model_dump(mode="json", exclude_none=True) | {"cursor": page.cursor}
        response.headers["Link"] = f'<{public_url()}/v1/jobs?{urlencode(more)}>; rel="next"'
    return response


@jobs.post("/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Ends a waiting job (200), asks a running one to stop (202), leaves an ended one (200)."""
    no_query()
    job = canceled(job_id)
    return _answer(job, 200 if job.status.is_terminal else 202)


@jobs.delete("/<job_id>")
def erase(job_id: str) -> Response:
    """Erases an ended job and its pictures."""
    no_query()
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
    no_query()
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
