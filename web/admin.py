"""`/v1/admin`: what an operator sees and does; the page `/ops` asks it, and any script may."""

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify

from lorajobs.access_errors import ScopeMissing
from lorajobs.api_keys import Scope
from lorajobs.document import job_document
from lorajobs.drain import DRAIN, RESUME
from lorajobs.errors import ConfigError, UnknownModel
from lorajobs.field_errors import listed, shown
from lorajobs.operator_errors import WorkerNotFound, WorkerSilent
from lorajobs.purge import purge
from lorajobs.submit import resubmit
from web.caller import caller
from web.deps import deps, public_url
from web.query import no_query
from web.submission import waiting

admin = Blueprint("admin", __name__, url_prefix="/v1/admin")


@admin.before_request
def _admit() -> None:
    """Lets an admin pass, and everybody as long as no key was ever made.

    Raises: ScopeMissing.
    """
    if not caller().sees_all:
        raise ScopeMissing(f"this is for operators: it needs a key with the scope `{Scope.ADMIN}`")
    no_query()


@admin.get("/overview")
def overview() -> Response:
    """Shows the queues, what each worker did lately, why jobs wait, and what failed."""
    return Response(deps().lookout.look().model_dump_json(), content_type="application/json")


@admin.post("/workers/<name>/drain")
def drain(name: str) -> Response:
    """Lets a worker finish its job and take no more; it stays alive and warm."""
    return _told(name, DRAIN)


@admin.post("/workers/<name>/resume")
def resume(name: str) -> Response:
    """Lets a drained worker take jobs again."""
    return _told(name, RESUME)


@admin.post("/queues/<path:model>/purge")
def purged(model: str) -> Response:
    """Cancels every job that waits for a base; those submitted meanwhile stay."""
    d = deps()
    entry = d.catalog.model(model)
    ids = d.lookout.watch.queued(entry.id if entry else model)
    if entry is None and not ids:
        known = listed(model, d.catalog.names)
        raise UnknownModel(f"no base model is called {shown(model)}; known are {known}")
    return jsonify(canceled=purge(d.store, ids))


@admin.post("/jobs/<job_id>/requeue")
def requeue(job_id: str) -> Response:
    """Submits an ended job again under a new id, with the same input, seed and adapters."""
    d, base = deps(), public_url()
    try:
        job = resubmit(job_id, d.catalog, d.store, d.queue, d.images)
    except ConfigError as error:
        raise UnknownModel(error.detail) from error
    response = jsonify(job_document(job, d.objects, base, waiting(job)))
    response.status_code = 202
    response.location = f"{base}/v1/jobs/{job.id}"
    return response


def _told(name: str, command: str) -> Response:
    d = deps()
    alive = [worker.name for worker in d.fleet.workers()]
    if name not in alive:
        raise WorkerNotFound(f"no worker {shown(name)} is alive; alive are {_some(alive)}")
    if not d.tell_worker(name, command):
        raise WorkerSilent(f"{name} did not answer; try again, or stop its process")
    return jsonify(worker=name, draining=command == DRAIN)


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
