"""What one job takes of the server's memory while it waits, and once it has ended."""

import uuid
from typing import Any, NamedTuple

from bench.commands import Server
from bench.crowd import FOREVER_S, RULES
from bench.demand import BASE, name_of
from bench.simulation import spec_of
from lorajobs.jobs import AppliedLora, Job, JobStatus, Metrics, Outcome, Stage
from lorajobs.redis_store import RedisJobStore
from lorajobs.store import Progress, WorkerState
from tests.jobs import an_output

ADAPTERS = 100
#: Of the kind that people write.
PROMPT = "a portrait of an old sailor in a blue coat, oil on canvas, dramatic light, " * 2


class Footprint(NamedTuple):
    """Bytes for each of so many jobs."""

    jobs: int
    waiting: float
    #: kept until its retention is over, with the events of its last day
    ended: float
    #: after that day
    without_events: float


def footprint(client: Any, pid: int, jobs: int) -> Footprint:  # noqa: ANN401
    """Submits jobs with one adapter, then runs each; on an empty server."""
    store, server = RedisJobStore(client, RULES), Server(client, pid)
    worker = WorkerState("worker", BASE, "warm", (), None)
    store.put_worker(worker, FOREVER_S)
    # One of each kind first: scripts and the keys of the base are not a job's.
    _end(store, _submit(store, 0))
    empty = server.memory()
    waiting = [_submit(store, number) for number in range(jobs)]
    full = server.memory()
    for job in waiting:
        _end(store, job)
    ended = server.memory()
    for job in waiting:
        client.delete(f"lorajobs:events:{job.id}")
    quiet = server.memory()
    return Footprint(jobs, *((bytes_ - empty) / jobs for bytes_ in (full, ended, quiet)))


def _submit(store: RedisJobStore, number: int) -> Job:
    spec = spec_of(BASE, name_of(number % ADAPTERS)).model_copy(update={"prompt": PROMPT})
    job = Job(id=str(uuid.uuid4()), status=JobStatus.QUEUED, spec=spec, created_ms=0)
    store.submit(job, None)
    return job


def _end(store: RedisJobStore, job: Job) -> None:
    """Runs a job as a worker tells of it, with one picture."""
    claimed = store.claim(BASE, job.id, "worker", job.id)
    if claimed is None:
        raise RuntimeError(f"job {job.id} was not to be had")
    for stage in Stage:
        for step in range(4 if stage is Stage.DENOISING else 1):
            store.renew(claimed.lease, Progress(stage, step, 25))
    (use,) = job.spec.loras
    adapter = use.adapter
    applied = AppliedLora(
        id=adapter.id, revision=adapter.revision, sha256=adapter.sha256, scale=use.scale
    )
    metrics = Metrics(queue_s=1.0, fetch_s=0.1, swap_s=0.1, generate_s=1.0, upload_s=0.1)
    outputs = (an_output(key=f"jobs/{job.id}/1/0.png"),)
    ended = Outcome(
        status=JobStatus.SUCCEEDED, applied_loras=(applied,), outputs=outputs, metrics=metrics
    )
    store.finish(claimed.lease, ended)
