"""The operator's commands on a real server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lorajobs.adapters.registry import LoraRecord, RedisLoraRegistry
from lorajobs.catalog import Catalog
from lorajobs.celery import make_app
from lorajobs.cli import main
from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import AppliedLora, Job, JobError, JobStatus, Outcome
from lorajobs.plan import Plan
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore, open_job_store
from lorajobs.settings import Settings
from lorajobs.store import WorkerState
from lorajobs.submit import submit
from lorajobs.tickets import TicketQueue
from tests.jobs import a_spec, an_adapter, lease_of, use

Run = Callable[..., Result]
PIXEL, DISK = AppliedLora(id="pixel", revision="r", sha256="s", scale=0.8), "host:1-2"
FAILED = JobError(code="oom", title="t", detail="d", retryable=True)


@pytest.fixture
def settings(valkey_url: str) -> Iterator[Settings]:
    """A database that no other test uses."""
    made = Settings(redis_url=f"{valkey_url.removesuffix('/0')}/5")
    with closing(connect(made.redis_url)) as client:
        client.flushdb()
        yield made
        client.flushdb()


@pytest.fixture
def store(settings: Settings) -> RedisJobStore:
    return open_job_store(settings)


@pytest.fixture
def add(settings: Settings, store: RedisJobStore) -> Iterator[Callable[..., Job]]:
    app = make_app(settings)
    tickets = TicketQueue(app, settings)

    def add(**fields: Any) -> Job:
        spec = a_spec(**fields)
        job, _ = submit(Plan(spec, (), f"base.{spec.model}", 0), store, tickets)
        return job

    yield add
    app.close()


@pytest.fixture
def run(settings: Settings) -> Run:
    def run(*words: str, **options: Any) -> Result:
        environment = {"LORAJOBS_REDIS_URL": settings.redis_url, "COLUMNS": "200"}
        return CliRunner().invoke(main, words, env=environment, **options)

    return run


def live(name: str = "demo-1@host", state: str = "warm", job_id: str | None = None) -> WorkerState:
    return WorkerState(name, "demo", state, [PIXEL], job_id, 12, 1_234_000_000, disk=DISK)


def shown(run: Run) -> dict[str, Any]:
    """The one base in the JSON."""
    result = run("queues", "--json")
    assert result.exit_code == 0, result.output
    (queue,) = json.loads(result.stdout)["queues"]
    return dict(queue)


def test_an_idle_base_is_shown_without_complaint(run: Run) -> None:
    assert shown(run) == {
        "model": "demo",
        "waiting": 0,
        "oldest_s": None,
        "running": 0,
        "submitted_per_min": 0.0,
        "ended_per_min": 0.0,
        "tickets": 0,
        "no_worker": False,
        "groups": [],
        "jobs": [],
        "workers": [],
    }
    assert "no worker" not in run("queues").stdout


def test_what_waits_is_shown_by_its_adapters_the_largest_group_first(
    run: Run, add: Callable[..., Job], store: RedisJobStore
) -> None:
    first = add()
    for scale in (0.5, 0.8, 0.8):
        add(loras=(use("pixel", scale), use("soft3d")))
    store.put_worker(live(job_id=first.id), 60)
    store.claim("demo", first.id, "demo-1@host", "ticket")
    queue = shown(run)
    assert (queue["waiting"], queue["running"], queue["tickets"]) == (3, 1, 4)
    assert [(group["waiting"], group["loras"]) for group in queue["groups"]] == [
        (2, [{"id": "pixel", "scale": 0.8}, {"id": "soft3d", "scale": 1.0}]),
        (1, [{"id": "pixel", "scale": 0.5}, {"id": "soft3d", "scale": 1.0}]),
    ]
    assert queue["workers"] == [
        {
            "name": "demo-1@host",
            "state": "warm",
            "base": "demo",
            "placement": "",
            "others": [],
            "parked": [],
            "loaded": [{"id": "pixel", "scale": 0.8}],
            "job_id": first.id,
            "cached": 12,
            "cached_bytes": 1_234_000_000,
            "in_memory": 0,
            "memory": [],
            "disk": [],
        }
    ]
    assert not queue["no_worker"]
    assert [(job["position"], job["why"]) for job in queue["jobs"]] == [
        (place, "fetching") for place in range(3)
    ]
    table = run("queues").stdout
    for text in ("pixel × 0.8, soft3d × 1", "demo-1@host", "warm", "12, 1.2 GB", first.id):
        assert text in table


def test_each_worker_shows_what_it_has_by_its_name_if_it_has_one(
    run: Run, store: RedisJobStore, settings: Settings
) -> None:
    names = ["ink", "line", "pixel", "soft3d"]
    adapters = [*map(an_adapter, names), an_adapter("zoo", peft_config={"r": 4})]
    with closing(connect(settings.redis_url)) as client:
        for adapter in adapters:
            record = LoraRecord(id=adapter.id, source="x", base="demo", adapter=adapter)
            RedisLoraRegistry(client).put(record)
    for name in ("demo-1@host", "demo-2@host"):
        store.put_worker(live(name), 60)
    memory = Holding.of([adapters[2].sha256, adapters[4].content, "f" * 64])
    disk = Holding.of(["f" * 64, *(adapter.sha256 for adapter in adapters)])
    store.put_held({Holder("memory", live().name): memory, Holder("disk", DISK): disk}, 60)
    first, second = shown(run)["workers"]
    assert (first["in_memory"], first["memory"]) == (3, ["pixel", "zoo", "f" * 12])
    assert (second["in_memory"], second["memory"]) == (0, [])
    assert first["disk"] == second["disk"] == [*names, "zoo", "f" * 12]
    table = run("queues").stdout
    assert f"3: pixel, zoo, {'f' * 12} " in table
    assert "12, 1.2 GB: ink, line, pixel, …" in table


def test_the_age_is_since_the_submit_whatever_the_priority(
    run: Run, add: Callable[..., Job]
) -> None:
    add(priority="high")
    queue = shown(run)
    assert 0 <= queue["oldest_s"] < 50
    assert 0 <= queue["groups"][0]["oldest_s"] < 50


@pytest.mark.parametrize("state", [None, "draining"])
def test_jobs_that_nobody_takes_are_told(
    run: Run, add: Callable[..., Job], store: RedisJobStore, state: str | None
) -> None:
    add()
    if state:
        store.put_worker(live(state=state), 60)
    assert shown(run)["no_worker"] is True
    assert "no worker" in run("queues").stdout
    store.put_worker(live("demo-2@host"), 60)
    assert "no worker" not in run("queues").stdout


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


def test_watching_and_json_exclude_each_other(run: Run) -> None:
    result = run("queues", "--watch", "--json")
    assert result.exit_code == 2
    assert "leave out --json" in result.stderr


def test_watching_ends_with_ctrl_c(settings: Settings, add: Callable[..., Job]) -> None:
    add(loras=(use("pixel", 0.8),))
    environment = {**os.environ, "LORAJOBS_REDIS_URL": settings.redis_url, "FORCE_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "lorajobs", "queues", "--watch"],
        env={**environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        looks = 0
        # Two looks: the table was drawn anew.
        while looks < 2 and (row := process.stdout.readline()):
            looks += "pixel × 0.8" in row
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert (looks, process.wait(timeout=30)) == (2, 0)
    assert "Traceback" not in rest


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
