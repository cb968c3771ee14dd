"""How a job and a worker look as Redis values; the store's only knowledge of their fields."""

import json
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter

from lorajobs.jobs import (
    AppliedLora,
    Job,
    JobError,
    JobSpec,
    JobStatus,
    JobWarning,
    Metrics,
    Outcome,
    Output,
    Stage,
)
from lorajobs.store import WaitingJob, WorkerState

_WARNINGS = TypeAdapter(tuple[JobWarning, ...])
_APPLIED = TypeAdapter(tuple[AppliedLora, ...])
_OUTPUTS = TypeAdapter(tuple[Output, ...])


def dump_submit(job: Job) -> tuple[str, str, str, str, str, str]:
    """id, model, spec, warnings, group and webhook URL, in the order of `submit.lua`."""
    spec = job.spec
    return (
        job.id,
        spec.model,
        spec.model_dump_json(),
        _WARNINGS.dump_json(job.warnings).decode(),
        spec.group,
        spec.webhook.url if spec.webhook else "",
    )


def dump_outcome(outcome: Outcome) -> tuple[str, str, str, str, str, str]:
    """status, applied adapters, outputs, warnings, metrics, error, in the order of `finish.lua`."""
    return (
        outcome.status,
        _APPLIED.dump_json(outcome.applied_loras).decode(),
        _OUTPUTS.dump_json(outcome.outputs).decode(),
        _WARNINGS.dump_json(outcome.warnings).decode(),
        outcome.metrics.model_dump_json(),
        outcome.error.model_dump_json() if outcome.error else "",
    )


def dump_worker(worker: WorkerState) -> str:
    """A worker's state as JSON."""
    return json.dumps(worker._asdict() | {"loaded": [use.model_dump() for use in worker.loaded]})


def load_worker(state: str) -> WorkerState:
    """The inverse of `dump_worker`."""
    fields = json.loads(state)
    loaded = [AppliedLora.model_validate(use) for use in fields.pop("loaded")]
    return WorkerState(**fields, loaded=loaded)


def load_job(record: Mapping[str, str]) -> Job:
    """A job from its hash."""

    def number(name: str) -> int | None:
        return int(record[name]) if record.get(name) else None

    return Job(
        id=record["id"],
        status=JobStatus(record["status"]),
        spec=JobSpec.model_validate_json(record["spec"]),
        created_ms=int(record["created_ms"]),
        warnings=_WARNINGS.validate_json(record["warnings"]),
        stage=Stage(record["stage"]) if record.get("stage") else None,
        step=int(record["step"]),
        steps=int(record["steps"]),
        attempt=int(record["attempt"]),
        worker=record.get("worker") or None,
        cancel_requested=record.get("cancel") == "1",
        started_ms=number("started_ms"),
        completed_ms=number("completed_ms"),
        applied_loras=_APPLIED.validate_json(record.get("applied_loras", "[]")),
        outputs=_OUTPUTS.validate_json(record.get("outputs", "[]")),
        error=JobError.model_validate_json(record["error"]) if record.get("error") else None,
        metrics=Metrics.model_validate_json(record.get("metrics", "{}")),
    )


def load_waiting(row: Sequence[str]) -> WaitingJob:
    """A waiting job from a row of `snapshot.lua`."""
    job_id, score, group = row
    return WaitingJob(job_id, int(float(score)), group)
