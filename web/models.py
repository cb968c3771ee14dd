"""`/v1/models`: the base models, what they allow and who has them warm."""

from collections.abc import Mapping, Sequence

from flask import Blueprint, Response, jsonify

from lorajobs.adapters.view import View
from lorajobs.catalog import ModelEntry
from lorajobs.document import without_secrets
from lorajobs.holdings import Holder
from lorajobs.store import DRAINING, PARKED, UNLOADED, WorkerState
from web.caller import own_loras
from web.deps import deps
from web.examples import example_picture, example_url
from web.query import no_query

models = Blueprint("models", __name__, url_prefix="/v1/models")
models.before_request(no_query)


@models.get("")
def index() -> Response:
    """Lists the base models."""
    d = deps()
    workers, backlog, loras = d.fleet.workers(), d.fleet.backlog(), own_loras()
    held = d.fleet.held([Holder("memory", worker.name) for worker in workers])
    return jsonify(
        models=[
            _document(entry, backlog.get(entry.id, 0), workers, held, loras)
            for entry in d.catalog.models.values()
        ]
    )


@models.get("/<path:model_id>/example")
def example(model_id: str) -> Response:
    """Shows a picture that the base made."""
    entry = deps().catalog.models.get(model_id)
    return example_picture(entry.example if entry else None)


def _document(
    entry: ModelEntry,
    waiting: int,
    workers: Sequence[WorkerState],
    held: Mapping[Holder, frozenset[str]],
    loras: View,
) -> dict[str, object]:
    own = [worker for worker in workers if worker.model == entry.id]
    is_parked = any(entry.id in worker.parked for worker in workers)
    return {
        "id": entry.id,
        "aliases": entry.aliases,
        "repo": entry.repo,
        "revision": entry.revision,
        "state": _state(own, is_parked=is_parked),
        "waiting": waiting,
        "defaults": entry.defaults.model_dump(),
        "limits": entry.limits.model_dump(),
        "schedulers": entry.schedulers,
        "accepts": entry.accepts,
        "license": entry.license,
        "example_url": example_url("models", entry.id) if entry.example else None,
        "workers": [
            {
                "name": worker.name,
                "state": worker.state,
                "busy": worker.job_id is not None,
                "placement": worker.placement or None,
                "parked": worker.parked,
                "loaded": [
                    use.model_dump() | {"id": without_secrets(use.id)}
                    for use in loras.of(worker.loaded)
                ],
                "memory": loras.named(held[Holder("memory", worker.name)]),
            }
            for worker in own
        ],
    }


def _state(workers: Sequence[WorkerState], *, is_parked: bool) -> str:
    """That of the worker nearest to a job, `cold` if there is none."""
    states = {worker.state for worker in workers} | ({PARKED} if is_parked else set())
    order = ("warm", "loading", PARKED, UNLOADED, DRAINING)
    return next((state for state in order if state in states), "cold")
