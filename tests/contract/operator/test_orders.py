"""What an operator orders on a real server: purge, requeue, drain."""

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from lorajobs.catalog import Catalog
from lorajobs.jobs import Job, JobError, JobStatus, Outcome
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.settings import Settings
from tests.contract.operator.conftest import Run
from tests.contract.operator.workers import live
from tests.jobs import lease_of, use

FAILED = JobError(code="oom", title="t", detail="d", retryable=True)


def test_a_base_that_is_configured_no_more_is_shown_and_purged(
    run: Run, add: Callable[..., Job]
) -> None:
    job = add(model="gone")
    queues = json.loads(run("queues", "--json").stdout)["queues"]
    assert [(q["model"], q["waiting"], q["tickets"]) for q in queues] == [
        ("demo", 0, 0),
        ("gone", 1, None),
    ]
    assert run("queues").exit_code == 0
    result = run("purge", "gone", "--yes")
    assert (result.exit_code, result.stdout) == (0, "canceled 1 job of gone\n")
    assert "no model 'gone' is configured" in run("requeue", job.id).stderr


def test_purge_cancels_all_that_waits_and_nothing_else(
    run: Run, add: Callable[..., Job], store: RedisJobStore
) -> None:
    running, delayed, done = add(), add(), add()
    store.claim("demo", running.id, "w1", "t1")
    for job in (delayed, done):
        lease = lease_of(store.claim("demo", job.id, "w2", job.id))
        assert lease
        if job is delayed:
            store.requeue(lease, FAILED, delay_s=600)
        else:
            store.finish(lease, Outcome(status=JobStatus.FAILED, error=FAILED))
    waiting = [add(loras=(use(str(i)),)) for i in range(40)]
    other = add(model="other")
    result = run("purge", "demo", "--yes")
    assert (result.exit_code, result.stdout) == (0, "canceled 41 jobs of demo\n")
    assert {store.get(job.id).status for job in (*waiting, delayed)} == {JobStatus.CANCELED}
    assert store.get(running.id).status is JobStatus.RUNNING
    assert not store.get(running.id).cancel_requested
    assert store.get(done.id).status is JobStatus.FAILED
    assert store.get(other.id).status is JobStatus.QUEUED
    assert run("purge", "demo").stdout == "canceled 0 jobs of demo\n"


def test_purge_asks_first(run: Run, add: Callable[..., Job], store: RedisJobStore) -> None:
    job = add()
    refused = run("purge", "demo", input="n\n")
    assert refused.exit_code == 1
    assert "Cancel 1 job waiting for demo?" in refused.output
    assert store.get(job.id).status is JobStatus.QUEUED
    assert run("purge", "demo", input="y\n").exit_code == 0
    assert store.get(job.id).status is JobStatus.CANCELED


def test_purge_of_an_unknown_base_names_the_known(run: Run) -> None:
    result = run("purge", "dmeo", "--yes")
    assert result.exit_code == 1
    assert "no base 'dmeo'; there is demo" in result.stderr


def test_an_ended_job_is_submitted_again(
    run: Run, add: Callable[..., Job], store: RedisJobStore, settings: Settings
) -> None:
    old = add(loras=(use("pixel", 0.8),), metadata={"order": "7"}, priority="high")
    refused = run("requeue", old.id)
    assert refused.exit_code == 1
    assert "is queued; only an ended job" in refused.stderr
    store.cancel(old.id)
    result = run("requeue", old.id)
    assert result.exit_code == 0, result.output
    new = store.get(result.stdout.strip())
    assert new.id != old.id
    assert (new.status, new.attempt) == (JobStatus.QUEUED, 0)
    assert new.spec == old.spec.model_copy(update={"retry_of": old.id})
    assert store.get(old.id).status is JobStatus.CANCELED
    with closing(connect(settings.redis_url)) as client:
        assert client.llen(Catalog.load(None).require("demo").queue) == 2


def test_a_job_that_nobody_knows_is_not_submitted_again(run: Run) -> None:
    assert "no job has the id 'nope'" in (result := run("requeue", "nope")).stderr
    assert result.exit_code == 1


@pytest.mark.parametrize("words", [[], ["--resume"]])
def test_drain_of_an_unknown_worker_names_the_live(
    run: Run, store: RedisJobStore, words: list[str]
) -> None:
    assert "alive are: none" in run("drain", "demo-9@host", *words).stderr
    store.put_worker(live(), 60)
    result = run("drain", "demo-9@host", *words)
    assert result.exit_code == 1
    assert "no worker 'demo-9@host' is alive; alive are: demo-1@host" in result.stderr


def test_a_worker_that_does_not_answer_is_told(run: Run, store: RedisJobStore) -> None:
    store.put_worker(live(), 60)
    result = run("drain", "demo-1@host")
    assert result.exit_code == 1
    assert "demo-1@host did not answer" in result.stderr
