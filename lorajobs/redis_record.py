"""How a job and a worker look as Redis values; the store's only knowledge of their fields."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from lorajobs.document import without_secrets
from lorajobs.jobs import (
    AppliedLora,
    Job,
    JobError,
    JobStatus,
    JobWarning,
    Metrics,
    Outcome,
    Outputs,
    Stage,
)
from lorajobs.place import Crew, Place
from lorajobs.snapshot import Turn, WaitingGroup, WaitingJob
from lorajobs.spec import JobSpec
from lorajobs.store import WorkerState
from lorajobs.store_errors import RecordUnreadable
from lorajobs.usage import gpu_s

_WARNINGS = TypeAdapter(tuple[JobWarning, ...])
_APPLIED = TypeAdapter(tuple[AppliedLora, ...])
_OUTPUTS = TypeAdapter(Outputs)


def dump_submit(job: Job) -> tuple[str, str, str, str, str, str, str]:
    """id, model, spec, warnings, group, webhook and owner, in the order of `submit.lua`."""
    spec = job.spec
    return (
        job.id,
        spec.model,
        spec.model_dump_json(),
        _WARNINGS.dump_json(job.warnings).decode(),
        spec.group,
        spec.webhook.model_dump_json() if spec.webhook else "",
        spec.owner,
    )


def dump_outcome(outcome: Outcome) -> Sequence[str | int]:
    """What `finish.lua` takes, in its order: the record's fields, then what was used."""
    return (
        outcome.status,
        _APPLIED.dump_json(outcome.applied_loras).decode(),
        _OUTPUTS.dump_json(outcome.outputs).decode(),
        _WARNINGS.dump_json(outcome.warnings).decode(),
        outcome.metrics.model_dump_json(),
        outcome.error.model_dump_json() if outcome.error else "",
        len(outcome.pictures),
        round(1000 * gpu_s(outcome)),
        *sorted({without_secrets(use.id) for use in outcome.applied_loras}),
    )


def dump_worker(worker: WorkerState) -> str:
    """A worker's state as JSON."""
    return json.dumps(worker._asdict() | {"loaded": [use.model_dump() for use in worker.loaded]})


def load_worker(state: str) -> WorkerState:
    """The inverse of `dump_worker`."""
    fields = json.loads(state)
    loaded = [AppliedLora.model_validate(use) for use in fields.pop("loaded")]
    others, parked = (tuple(fields.pop(name, ())) for name in ("others", "parked"))
    return WorkerState(**fields, loaded=loaded, others=others, parked=parked)


def load_job(record: Mapping[str, str]) -> Job:
    """A job from its hash.

    Raises: RecordUnreadable.
    """
    try:
        return _load_job(record)
    except (KeyError, ValueError) as error:
        job_id = record.get("id", "?")
        raise RecordUnreadable(f"job {job_id}: of another version of lorajobs: {error}") from error


def _load_job(record: Mapping[str, str]) -> Job:
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
        predicted_s=_predicted_s(record),
        applied_loras=_APPLIED.validate_json(record.get("applied_loras", "[]")),
        outputs=_OUTPUTS.validate_json(record.get("outputs", "[]")),
        error=JobError.model_validate_json(record["error"]) if record.get("error") else None,
        metrics=Metrics.model_validate_json(record.get("metrics", "{}")),
    )


def _predicted_s(record: Mapping[str, str]) -> float | None:
    position, service_ms, workers, idle = (
        int(record.get(name) or 0) for name in ("position", "service_ms", "workers", "idle")
    )
    place = Place(position, position, False, service_ms / 1000 or None)
    return place.starts_in_s(Crew(workers, idle))


def load_place(row: Sequence[str | int]) -> Place:
    """A place as `place_of` in `keys.lua` gives it."""
    position, ahead_max, delayed, service_ms = map(int, row)
    return Place(position, ahead_max, bool(delayed), service_ms / 1000 or None)


def load_turn(row: Sequence[Any], loaded_group: str) -> Turn:
    """A key's turn from a row of `snapshot.lua`."""
    owner, since_us, had, loaded, groups = row
    return Turn(
        owner,
        _us(since_us),
        bool(had),
        WaitingJob(loaded[0], _us(loaded[1]), loaded_group) if loaded else None,
        [
            WaitingGroup(WaitingJob(job_id, _us(score), group), waiting, bool(elsewhere))
            for group, job_id, score, waiting, elsewhere in groups
        ],
    )


def _us(score: str) -> int:
    return int(float(score))
