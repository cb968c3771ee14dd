"""The answers that are no pydantic model, as JSON Schema; a test holds real answers against it."""

from collections.abc import Mapping
from typing import Any

from lorajobs.jobs import JobStatus, Stage
from lorajobs.request import MAX_WAIT_S

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
_WHOLE: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": "string", "format": "date-time"}
_SECONDS: Json = {"type": ["number", "null"], "minimum": 0}
_URL: Json = {"type": "string", "format": "uri"}

_OUTPUT = {
    "index": _WHOLE,
    # Null of a picture that was withheld: those of its file.
    "url": _or_null(_URL),
    "url_expires_at": _or_null(_TIME),
    "content_type": {"type": ["string", "null"]},
    "width": _WHOLE,
    "height": _WHOLE,
    "bytes": _or_null(_WHOLE),
    "sha256": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
    "seed": _WHOLE,
    "nsfw": {"type": ["boolean", "null"]},
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
    "cancel_requested": {"type": "boolean"},
    # The request with every default filled in.
    "input": {"type": "object"},
    "applied_loras": _list(_ref("AppliedLora")),
    "warnings": _list(_ref("JobWarning")),
    "queue": _or_null(_ref("Queue")),
    "attempts": _WHOLE,
    "retry_of": {"type": ["string", "null"]},
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
    "scale": {"type": "number"},
    "revision": _TEXT,
    "sha256": _TEXT,
    "bytes": _WHOLE,
    "base": {"type": ["string", "null"]},
    "tier": {"enum": ["applied", None]},
}
_DRY_RUN = {
    "dry_run": {"const": True},
    "model": _TEXT,
    "input": {"type": "object"},
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
    "retryable": {"type": "boolean"},
    "errors": _list(_object({"pointer": _TEXT, "detail": _TEXT})),
}

#: By name; `Object` is that of an answer not described further.
SCHEMAS: Mapping[str, Json] = {
    "Object": {"type": "object"},
    "Output": _object(_OUTPUT),
    "Queue": _object(_QUEUE),
    "Job": _object(_JOB),
    "JobPage": _object({"jobs": _list(_ref("Job")), "next_cursor": {"type": ["string", "null"]}}),
    "DryRun": _object(_DRY_RUN),
    "JobOrDryRun": {"oneOf": [_ref("Job"), _ref("DryRun")]},
    # Some carry more, such as the `checks` of /readyz.
    "Problem": {**_object(_PROBLEM), "additionalProperties": True},
}

#: Request headers: what each is for, and its schema.
HEADERS: Mapping[str, tuple[str, Json]] = {
    "Prefer": (f"`wait=n` waits up to n seconds ({MAX_WAIT_S} at most) for the job's end", _TEXT),
    "Last-Event-ID": (
        "the last event that was heard",
        {"type": "string", "pattern": r"^\d{1,19}-\d{1,19}$"},
    ),
    "Idempotency-Key": (
        "the same key and body give the same job",
        {"type": "string", "minLength": 1, "maxLength": 255},
    ),
}
