"""The public JSON of a job, the same in the API and in webhooks."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

from lorajobs.jobs import Job, Output, Withheld
from lorajobs.place import Crew, Place
from lorajobs.spec import AdapterUse, JobSpec, Webhook
from lorajobs.storage.base import ObjectStore

Document = dict[str, object]

#: What a job's spec holds beside the request, or shows in another form.
OWN = frozenset({"loras", "webhook", "retry_of", "owner", "request_id"})
#: What an output says of its file; null of a picture that was withheld.
_OF_A_FILE = ("url", "url_expires_at", "content_type", "bytes", "sha256")
_EPOCH = datetime.fromtimestamp(0, UTC)


def job_document(
    job: Job, objects: ObjectStore, public_url: str, queue: Document | None
) -> Document:
    """A job as clients see it, with freshly signed picture URLs; times are RFC 3339 in UTC.

    `queue` says where it waits, see `queue_document`; None unless it does.
    """
    this = f"{public_url.rstrip('/')}/v1/jobs/{job.id}"
    return {
        "id": job.id,
        "status": job.status.value,
        "stage": job.stage.value if job.stage else None,
        "progress": {"step": job.step, "steps": job.steps},
        "cancel_requested": job.cancel_requested,
        "input": input_document(job.spec),
        "applied_loras": [
            lora.model_dump(mode="json") | {"id": without_secrets(lora.id)}
            for lora in job.applied_loras
        ],
        "warnings": [warning.model_dump() for warning in job.warnings],
        "queue": queue,
        "attempts": job.attempt,
        "retry_of": job.spec.retry_of,
        "created_at": timestamp(job.created_ms),
        "started_at": timestamp(job.started_ms),
        "completed_at": timestamp(job.completed_ms),
        "outputs": [_output(output, objects) for output in job.outputs],
        "error": job.error.model_dump() if job.error else None,
        "metrics": job.metrics.model_dump(),
        "urls": {"self": this, "cancel": f"{this}/cancel", "events": f"{this}/events"},
    }


def queue_document(place: Place, crew: Crew) -> Document:
    """Where a job waits: jobs before it, the most that may run before it, when it will start.

    The estimate is in seconds, None if no worker serves the base or no job has ended yet.
    """
    reason = "no_worker" if not crew.workers else "retry" if place.delayed else "waiting"
    return {
        "position": place.position,
        "ahead_max": place.ahead_max,
        "eta_s": place.starts_in_s(crew),
        "reason": reason,
    }


def timestamp(unix_ms: int | None) -> str | None:
    """Unix milliseconds as RFC 3339 in UTC."""
    return None if unix_ms is None else _rfc3339(_EPOCH + timedelta(milliseconds=unix_ms))


def without_secrets(reference: str) -> str:
    """A reference that anybody may read: a URL's query, which may sign it, is left out."""
    if "://" not in reference:
        return reference
    scheme, host, path, query, _ = urlsplit(reference)
    return urlunsplit((scheme, host.rpartition("@")[2], path, "…" if query else "", ""))


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def input_document(spec: JobSpec) -> Document:
    """The request with every default filled in, in the request's own terms."""
    return spec.model_dump(exclude=set(OWN)) | {
        "loras": [_lora(use) for use in spec.loras],
        "webhook": _webhook(spec.webhook) if spec.webhook else None,
    }


def _webhook(webhook: Webhook) -> Document:
    return {
        "url": without_secrets(webhook.url),
        "events": list(webhook.events),
        "shape": webhook.shape,
    }


def _lora(use: AdapterUse) -> Document:
    adapter = use.adapter
    if adapter.registered:
        return {"id": adapter.id, "scale": use.scale}
    # The file too: the same reference may hold several later, if it does not already.
    reference = without_secrets(adapter.id)
    return {"path": reference, "scale": use.scale, "weight_name": adapter.weight_name}


def _output(output: Output | Withheld, objects: ObjectStore) -> Document:
    if isinstance(output, Withheld):
        of_a_file = dict.fromkeys(_OF_A_FILE)
        return {"index": output.index, **of_a_file, **output.model_dump(exclude={"index"})}
    signed = objects.url(output.key)
    return {
        "index": output.index,
        "url": signed.url,
        "url_expires_at": _rfc3339(signed.expires_at),
        **output.model_dump(exclude={"index", "key"}),
    }
