"""The answers that are no pydantic model, as JSON Schema; tests hold all answers against it."""

from collections.abc import Mapping
from typing import Any, get_args

from lorajobs.document import OWN
from lorajobs.jobs import JobStatus, Stage
from lorajobs.outbox import DeliveryStatus
from lorajobs.request import MAX_WAIT_S
from lorajobs.spec import JobSpec, Visibility, WebhookEvent, WebhookShape
from lorajobs.store import DRAINING, PARKED, UNLOADED
from lorajobs.usage import UsageBy
from lorajobs.whereabouts import Tier

Json = dict[str, Any]


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json) -> Json:
    """An object that has all of these and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT: Json = {"type": "string"}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": "number"}
_FLAG: Json = {"type": "boolean"}
_DIGITS: Json = {"type": "integer", "minimum": 0}
_CHECKS: Json = {"type": "object", "additionalProperties": _TEXT}
_WHOLE: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
_SECONDS: Json = {"type": ["number", "null"], "minimum": 0}
_URL: Json = {"type": "string", "format": "uri"}

_OUTPUT = {
    "index": _WHOLE,
    # Null of a picture that was withheld: those of its file.
    "url": _or_null(_URL),
    "url_expires_at": _or_null(_TIME),
    "content_type": _TEXT_OR_NULL,
    "width": _WHOLE,
    "height": _WHOLE,
    "bytes": _or_null(_WHOLE),
    "sha256": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
    "seed": _WHOLE,
    "nsfw": {"type": ["boolean", "null"]},
}
_LORA_ASKED = {
    "oneOf": [
        _object({"id": _TEXT, "scale": _NUMBER}),
        _object({"path": _TEXT, "scale": _NUMBER, "weight_name": _TEXT}),
    ]
}
_WEBHOOK = _object(
    {
        "url": _TEXT,
        "events": _list({"enum": list(get_args(WebhookEvent))}),
        "shape": {"enum": list(get_args(WebhookShape))},
    }
)
_SPEC: Json = JobSpec.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
#: The request with every default filled in.
_INPUT: Json = {
    **{name: schema for name, schema in _SPEC.items() if name not in OWN},
    "loras": _list(_LORA_ASKED),
    "webhook": _or_null(_WEBHOOK),
}
_QUEUE = {
    "position": _WHOLE,
    "ahead_max": _WHOLE,
    "eta_s": _SECONDS,
    "reason": {"enum": ["waiting", "retry", "no_worker"]},
}
_JOB = {
    "id": _TEXT,
    "status": {"enum": [status.value for status in JobStatus]},
    "stage": {"enum": [*(stage.value for stage in Stage), None]},
    "progress": _object({"step": _WHOLE, "steps": _WHOLE}),
    "cancel_requested": _FLAG,
    "input": _ref("Input"),
    "applied_loras": _list(_ref("AppliedLora")),
    "warnings": _list(_ref("JobWarning")),
    "queue": _or_null(_ref("Queue")),
    "attempts": _WHOLE,
    "retry_of": _TEXT_OR_NULL,
    "created_at": _TIME,
    "started_at": _or_null(_TIME),
    "completed_at": _or_null(_TIME),
    "outputs": _list(_ref("Output")),
    "error": _or_null(_ref("JobError")),
    "metrics": _ref("Metrics"),
    "urls": {"type": "object", "additionalProperties": _URL},
}
_DRY_LORA = {
    "id": _TEXT,
    "scale": _NUMBER,
    "revision": _TEXT,
    "sha256": _TEXT,
    "bytes": _WHOLE,
    "base": _TEXT_OR_NULL,
    "tier": {"enum": [*get_args(Tier), None]},
}
_DRY_RUN = {
    "dry_run": {"const": True},
    "model": _TEXT,
    "input": _ref("Input"),
    "loras": _list(_object(_DRY_LORA)),
    "warnings": _list(_ref("JobWarning")),
    "queue": _ref("Queue"),
}
_PROBLEM = {
    "type": _TEXT,
    "title": _TEXT,
    "status": {"type": "integer"},
    "detail": _TEXT,
    "instance": _TEXT,
    "code": _TEXT,
    "retryable": _FLAG,
    "errors": _list(_object({"pointer": _TEXT, "detail": _TEXT})),
}

_WORKER = {
    "name": _TEXT,
    "state": {"enum": ["loading", "warm", UNLOADED, DRAINING]},
    "busy": _FLAG,
    "placement": {"enum": ["gpu", "host", "unfused", None]},
    "parked": _list(_TEXT),
    "loaded": _list(_ref("AppliedLora")),
    "memory": _list(_TEXT),
}
_MODEL = {
    "id": _TEXT,
    "aliases": _list(_TEXT),
    "repo": _TEXT_OR_NULL,
    "revision": _TEXT_OR_NULL,
    "state": {"enum": ["warm", "loading", PARKED, UNLOADED, DRAINING, "cold"]},
    "waiting": _WHOLE,
    "defaults": _ref("Defaults"),
    "limits": _ref("Limits"),
    "schedulers": _list(_TEXT),
    "accepts": _list(_TEXT),
    "license": _TEXT_OR_NULL,
    "example_url": _or_null(_URL),
    "workers": _list(_ref("Worker")),
}
_IMAGE = {
    "id": {"type": "string", "pattern": "^image-[0-9a-f]{64}$"},
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "width": _WHOLE,
    "height": _WHOLE,
    "bytes": _WHOLE,
    "content_type": _TEXT,
    "expires_at": _TIME,
}
_LORA = {
    "id": _TEXT,
    "status": {"enum": ["ready", "awaiting_upload"]},
    "owner": _TEXT_OR_NULL,
    "visibility": {"enum": list(get_args(Visibility))},
    "source": _TEXT_OR_NULL,
    "base": _TEXT,
    "scale": _NUMBER,
    "trigger_words": _list(_TEXT),
    "license": _TEXT_OR_NULL,
    "example_url": _or_null(_URL),
    "weight_name": _TEXT_OR_NULL,
    "revision": _TEXT_OR_NULL,
    "sha256": _TEXT_OR_NULL,
    "bytes": _or_null(_WHOLE),
    "configured": _FLAG,
    "created_at": _or_null(_TIME),
}
_UPLOAD = {
    "method": {"const": "PUT"},
    "url": _URL,
    "headers": {"type": "object", "additionalProperties": _TEXT},
    "expires_at": _TIME,
}
_SECRET = {"secret": _TEXT, "former": _TEXT_OR_NULL, "former_until": _or_null(_TIME)}
_DELIVERY = {
    "id": _TEXT,
    "event": {"enum": [f"job.{event}" for event in get_args(WebhookEvent)]},
    "url": _TEXT,
    "status": {"enum": [status.value for status in DeliveryStatus]},
    "tries": _WHOLE,
    "next_try_at": _or_null(_TIME),
    "log": _list(_object({"at": _TIME, "result": _TEXT})),
}
_EVENT = {
    "id": _TEXT,
    "event": {"enum": ["progress", *(status.value for status in JobStatus)]},
    "data": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "`at`, `attempt`, `stage`, `step`, `steps`; of the last event the Job",
    },
}
#: None of what was used in all.
_DAY = _or_null({"type": "string", "format": "date"})
_USED = {"jobs": _WHOLE, "pictures": _WHOLE, "gpu_s": {"type": "number", "minimum": 0}}


def _used(by: str) -> Json:
    """The report by key, adapter or model, whose name stands under just that word."""
    used = _list(_object({by: _TEXT, **_USED}))
    return _object({"by": {"const": by}, "since": _DAY, "until": _DAY, "usage": used})


#: By name; `Object` is that of an answer not described further.
SCHEMAS: Mapping[str, Json] = {
    "Object": {"type": "object"},
    "Input": _object(_INPUT),
    "Output": _object(_OUTPUT),
    "Queue": _object(_QUEUE),
    "Job": _object(_JOB),
    "JobPage": _object({"jobs": _list(_ref("Job")), "next_cursor": _TEXT_OR_NULL}),
    "DryRun": _object(_DRY_RUN),
    "JobOrDryRun": {"oneOf": [_ref("Job"), _ref("DryRun")]},
    "Event": _object(_EVENT),
    "Worker": _object(_WORKER),
    "Model": _object(_MODEL),
    "Models": _object({"models": _list(_ref("Model"))}),
    "Lora": _object(_LORA),
    "LoraOrUpload": {"oneOf": [_ref("Lora"), _object({**_LORA, "upload": _object(_UPLOAD)})]},
    "WebhookSecrets": _object(_SECRET),
    "Loras": _object({"loras": _list(_ref("Lora"))}),
    "Image": _object(_IMAGE),
    "Delivery": _object(_DELIVERY),
    "Deliveries": _object({"deliveries": _list(_ref("Delivery"))}),
    "UsageReport": {"oneOf": [_used(by) for by in get_args(UsageBy)]},
    "WorkerTold": _object({"worker": _TEXT, "draining": _FLAG}),
    "Purged": _object({"canceled": _WHOLE}),
    "Alive": _object({"status": {"const": "ok"}}),
    "Ready": _object({"status": {"const": "ok"}, "checks": _CHECKS}),
    # Some carry more, such as the `checks` of /readyz.
    "Problem": {**_object(_PROBLEM), "additionalProperties": True},
}

#: Request headers: what each is for, and its schema.
REQUEST_HEADERS: Mapping[str, tuple[str, Json]] = {
    "Prefer": (f"`wait=n` waits up to n seconds ({MAX_WAIT_S} at most) for the job's end", _TEXT),
    "Last-Event-ID": (
        "the last event that was heard",
        {"type": "string", "pattern": "^([0-9]{1,19}-[0-9]{1,19})?$"},
    ),
    "lora": ("a registered adapter's id, or a reference such as `owner/name`", _TEXT),
    "Range": ("the part that is wanted", _TEXT),
    "If-None-Match": ("the `ETag` of what the client has", _TEXT),
    "Idempotency-Key": (
        "the same key and body give the same job",
        {"type": "string", "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    ),
}

#: The same of the headers of answers.
ANSWER_HEADERS: Mapping[str, tuple[str, Json]] = {
    "Location": ("where it is", _TEXT),
    "Link": ("the next page (RFC 8288)", _TEXT),
    "Retry-After": ("seconds after which to ask again", _DIGITS),
    "Preference-Applied": ("that the header Prefer counted (RFC 7240)", _TEXT),
    "RateLimit-Limit": ("requests per minute of the key", _DIGITS),
    "RateLimit-Remaining": ("requests that are left to the key now", _DIGITS),
    "RateLimit-Reset": ("seconds until all of them are", _DIGITS),
    "WWW-Authenticate": ("how to show a key (RFC 6750)", _TEXT),
    "Cache-Control": ("`no-store`: an answer is of its moment", _TEXT),
    "X-Accel-Buffering": ("`no`: a proxy must not collect events", {"const": "no"}),
    "ETag": ("the version of the file", _TEXT),
    "Last-Modified": ("when it was made", _TEXT),
    "Accept-Ranges": ("`bytes`: a part may be asked for", {"const": "bytes"}),
    "Content-Range": ("which part it is", _TEXT),
    "Content-Disposition": ("`inline`", _TEXT),
    "X-Job-Id": ("the job that made the pictures", _TEXT),
    "X-Should-Retry": ("`false`: the same request again makes another job", {"const": "false"}),
    "X-Request-ID": ("the request's own, or one made for it; in the log and in webhooks", _TEXT),
    "X-Content-Type-Options": ("`nosniff`", {"const": "nosniff"}),
}
