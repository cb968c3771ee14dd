"""Replicate's API, as its clients use it: predictions are jobs; errors are problem documents too.

`/v1/models` stays ours: a client's `models.list()` does not work. Contract and traps:
`docs/compatibility.md`.
"""

import logging
from collections.abc import Iterator
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from lorajobs.errors import FieldError, LoraJobsError, UnknownModel, ValidationFailed
from lorajobs.events import PROGRESS, Event, follow
from lorajobs.field_errors import listed, shown
from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus
from lorajobs.prediction import (
    error_text,
    output_urls,
    prediction_document,
    progress_line,
    reference,
)
from lorajobs.request import MAX_WAIT_S
from web.body import json_body
from web.caller import caller, own_job, own_loras
from web.cancellation import canceled
from web.deps import Deps, deps, public_url
from web.paging import page_of
from web.query import no_query
from web.replicate_files import file_document, own_file, uploaded_file
from web.replicate_models import model_document, version_document
from web.replicate_shapes import (
    ModelPrediction,
    PredictionsQuery,
    VersionPrediction,
    name_of,
    translated,
)
from web.submission import accept
from web.waiting import await_end, preferred_s
from web.webhooks import webhook_secret_of

_log = logging.getLogger(__name__)

#: Predictions on a page of the list.
PAGE = 100
#: The header of a deadline that counts from the submit, which jobs do not have.
DEADLINE = "Cancel-After"
#: Seconds before the end of its own wait at which a client is answered.
MARGIN_S = 1.0

replicate = Blueprint("replicate", __name__, url_prefix="/v1")


@replicate.before_request
def _known_query() -> None:
    if request.endpoint != "replicate.index":
        no_query()


@replicate.post("/predictions")
def create() -> Response:
    """Runs a version: the id of a base model or an adapter."""
    asked = VersionPrediction.parse(json_body())
    return _created(_version(asked.version), asked)


@replicate.post("/models/<owner>/<name>/predictions")
def create_of_model(owner: str, name: str) -> Response:
    """Runs a base model or an adapter."""
    model = _model(owner, name)
    return _created(model, ModelPrediction.parse(json_body()))


@replicate.get("/predictions")
def index() -> Response:
    """Lists jobs as predictions, newest first."""
    query = PredictionsQuery.parse(request.args.to_dict(flat=False))
    page = page_of(JobFilter(), PAGE, query.cursor)
    following = urlencode({"cursor": page.cursor}) if page.cursor else None
    return jsonify(
        previous=None,
        next=f"{public_url()}/v1/predictions?{following}" if following else None,
        results=[_document(job) for job in page.jobs],
    )


@replicate.get("/predictions/<job_id>")
def show(job_id: str) -> Response:
    """Shows a job as a prediction."""
    return jsonify(_document(own_job(job_id)))


@replicate.post("/predictions/<job_id>/cancel")
def cancel(job_id: str) -> Response:
    """Ends a job that waits or runs, leaves an ended one."""
    return jsonify(_document(canceled(job_id)))


@replicate.get("/predictions/<job_id>/stream")
def stream(job_id: str) -> Response:
    """Tells progress, pictures and the end as they come, in the events of Replicate's clients."""
    d = deps()
    job = own_job(job_id)
    leave = d.seats.take()
    response = Response(_told(d, job), content_type="text/event-stream")
    response.call_on_close(leave)
    # A proxy that collects the answer would hold back every event.
    response.headers["X-Accel-Buffering"] = "no"
    return response


@replicate.post("/files")
def upload() -> Response:
    """Keeps a picture, for predictions to start from."""
    response = jsonify(file_document(uploaded_file()))
    response.status_code = 201
    return response


@replicate.get("/files/<file_id>")
def file(file_id: str) -> Response:
    """Shows what is known of it."""
    return jsonify(file_document(own_file(file_id)))


@replicate.get("/models/<owner>/<name>")
def model(owner: str, name: str) -> Response:
    """Shows a base model or an adapter as a model."""
    return jsonify(model_document(_model(owner, name)))


@replicate.get("/models/<owner>/<name>/versions")
def versions(owner: str, name: str) -> Response:
    """Lists the one version that there is."""
    return jsonify(previous=None, next=None, results=[version_document(_model(owner, name))])


@replicate.get("/models/<owner>/<name>/versions/<path:version>")
def version(owner: str, name: str, version: str) -> Response:
    """Shows it."""
    found = _model(owner, name)
    if name_of(version) != found:
        raise NotFound(f"{reference(found)} has one version, {shown(found)}, not {shown(version)}")
    return jsonify(version_document(found))


@replicate.get("/webhooks/default/secret")
def webhook_secret() -> Response:
    """Shows what signs the webhooks of the caller's jobs."""
    return jsonify(key=webhook_secret_of(caller()).current)


def _created(model: str, asked: ModelPrediction) -> Response:
    if DEADLINE in request.headers:
        problem = (
            "is not known here; cancel the prediction, or submit a job with `start_deadline_s`"
        )
        raise ValidationFailed("", FieldError(DEADLINE, problem))
    translation = translated(model, asked, is_adapter=deps().catalog.model(model) is None)
    with translation.spoken():
        job, _ = accept(translation.request())
    now = await_end(job, _patience_s())
    document = _document(now)
    if not now.status.is_terminal:
        # Clients take any other status in the answer to a submit for the last word.
        document["status"] = "starting"
    response = jsonify(document)
    response.status_code = 201
    response.location = f"{public_url()}/v1/predictions/{job.id}"
    return response


def _patience_s() -> float:
    """How long to wait, so that the answer is there before the client gives up."""
    asked_s = preferred_s(bare_s=MAX_WAIT_S) or 0
    return max(asked_s - MARGIN_S, asked_s / 2)


def _document(job: Job) -> dict[str, object]:
    return prediction_document(job, deps().objects, public_url())


def _model(owner: str, name: str) -> str:
    """The id of the base or adapter that is called so.

    Raises: NotFound.
    """
    found = name_of(f"{owner}/{name}")
    if not _is_known(found):
        raise NotFound(_unknown(f"{owner}/{name}"))
    return found


def _version(version: str) -> str:
    """The id of the base or adapter of a version: its id, `owner/name` or `owner/name:version`.

    Raises: UnknownModel.
    """
    ref, colon, own = version.partition(":")
    found = name_of(ref)
    if colon and name_of(own) != found:
        detail = f"{ref} has one version, {shown(found)}, not {shown(own)}"
        raise UnknownModel(detail, FieldError("/version", detail))
    if not _is_known(found):
        detail = _unknown(version)
        raise UnknownModel(detail, FieldError("/version", detail))
    return found


def _is_known(name: str) -> bool:
    return deps().catalog.model(name) is not None or own_loras().find(name) is not None


def _unknown(name: str) -> str:
    known = [*deps().catalog.names, *(record.id for record in own_loras().records())]
    return (
        f"no base model or adapter is called {shown(name)}; known are "
        f"{listed(name, [reference(k) for k in known])}"
    )


def _told(d: Deps, job: Job) -> Iterator[str]:
    try:
        for event in follow(d.events, d.store, job, "", d.pace):
            # What cannot be written tells that the client is gone.
            told = "".join(_frames(d, job.id, event)) if event else ""
            yield told or ": still here\n\n"
    except LoraJobsError as error:
        # The status is sent already.
        _log.info("the stream of job %s broke off: %s", job.id, error.detail)


def _frames(d: Deps, job_id: str, event: Event) -> Iterator[str]:
    if event.is_end:
        yield from _end(d, event, d.store.get(job_id))
    elif event.kind == PROGRESS and event.fields.get("steps"):
        step, steps = int(event.fields["step"]), int(event.fields["steps"])
        yield _frame(event, "logs", progress_line(step, steps))


def _end(d: Deps, event: Event, job: Job) -> Iterator[str]:
    for url in output_urls(job, d.objects) or ():
        yield _frame(event, "output", url)
    if job.status is JobStatus.FAILED:
        yield _frame(event, "error", error_text(job) or "")
    reasons = {JobStatus.SUCCEEDED: "{}", JobStatus.FAILED: '{"reason": "error"}'}
    yield _frame(event, "done", reasons.get(job.status, '{"reason": "canceled"}'))


def _frame(event: Event, kind: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {kind}\nid: {event.id}\n{lines}\n"
