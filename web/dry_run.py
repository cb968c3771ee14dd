"""`POST /v1/jobs?dry_run=1`: what a submit would do, without doing it."""

import uuid

from flask import Response, jsonify

from lorajobs.document import Document, input_document, queue_document, without_secrets
from lorajobs.jobs import Job, JobStatus
from lorajobs.plan import Plan
from lorajobs.spec import AdapterUse
from lorajobs.store import WorkerState
from lorajobs.terms import Terms
from web.deps import deps


def outlook(planned: Plan, terms: Terms) -> Response:
    """The job as it would be accepted, and the place that it would have now.

    Raises: QueueFull.
    """
    d, spec = deps(), planned.spec
    job = Job(id=str(uuid.uuid4()), status=JobStatus.QUEUED, spec=spec, created_ms=0)
    place = d.store.outlook(job, planned.window_us, terms)
    workers = [w for w in d.fleet.workers() if w.serves(spec.model) and w.takes_jobs]
    return jsonify(
        dry_run=True,
        model=spec.model,
        input=input_document(spec),
        loras=[_lora(use, workers) for use in spec.loras],
        warnings=[warning.model_dump() for warning in planned.warnings],
        queue=queue_document(place, d.roster.serving(spec.model)),
    )


def _lora(use: AdapterUse, workers: list[WorkerState]) -> Document:
    adapter = use.adapter
    applied = any(adapter.key == lora.key for w in workers for lora in w.loaded)
    return {
        "id": without_secrets(adapter.id),
        "scale": use.scale,
        "revision": adapter.revision,
        "sha256": adapter.sha256,
        "bytes": adapter.bytes,
        "base": adapter.base,
        # What a worker has in memory or on its disk it tells nobody.
        "tier": "applied" if applied else None,
    }
