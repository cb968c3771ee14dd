"""`POST /v1/jobs?dry_run=1`: what a submit would do, without doing it."""

import uuid

from flask import Response, jsonify

from lorajobs.document import Document, input_document, queue_document, without_secrets
from lorajobs.jobs import Job, JobStatus
from lorajobs.plan import Plan
from lorajobs.spec import AdapterUse
from lorajobs.terms import Terms
from lorajobs.whereabouts import Whereabouts
from web.deps import deps


def outlook(planned: Plan, terms: Terms) -> Response:
    """The job as it would be accepted, and the place that it would have now.

    Raises: QueueFull.
    """
    d, spec = deps(), planned.spec
    job = Job(id=str(uuid.uuid4()), status=JobStatus.QUEUED, spec=spec, created_ms=0)
    place = d.store.outlook(job, planned.window_us, terms)
    adapters = [use.adapter for use in spec.loras]
    where = Whereabouts(d.fleet.workers(), d.fleet, spec.model, adapters)
    return jsonify(
        dry_run=True,
        model=spec.model,
        input=input_document(spec),
        loras=[_lora(use, where) for use in spec.loras],
        warnings=[warning.model_dump() for warning in planned.warnings],
        queue=queue_document(place, d.roster.serving(spec.model)),
    )


def _lora(use: AdapterUse, where: Whereabouts) -> Document:
    adapter = use.adapter
    return {
        "id": without_secrets(adapter.id),
        "scale": use.scale,
        "revision": adapter.revision,
        "sha256": adapter.sha256,
        "bytes": adapter.bytes,
        "base": adapter.base,
        "tier": where.tier(adapter),
    }
