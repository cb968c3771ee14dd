"""SIGTERM of a worker: its job ends within the grace, or goes back and runs elsewhere."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.services.line import Line, children_of, line
from tests.services.receiver import receiver
from tests.services.valkey import valkey

SHORT_S = "0.5"
#: Steps of a job that runs for longer than the short grace, at 50 ms each.
MANY = 60
#: Seconds for a worker to end; it waits for nothing that takes as long.
EXIT_S = 30


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("shutdown")
    with valkey(tmp_path_factory.mktemp("shutdown-valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
            "LORAJOBS_STEP_TIMEOUT_S": "2",
            # An attempt that counted would be the only one.
            "LORAJOBS_MAX_ATTEMPTS": "1",
        }
        with line(folder, **env) as made:
            made.start_api()
            yield made


@pytest.fixture
def broker(running: Line) -> Iterator["redis.Redis"]:
    client = redis.Redis.from_url(running.env["LORAJOBS_REDIS_URL"], decode_responses=True)
    yield client
    client.close()


def _leaving(
    running: Line, grace_s: str = SHORT_S, **fields: Any
) -> "tuple[subprocess.Popen[bytes], dict[str, Any]]":
    """A worker in the middle of a job."""
    worker = running.start_painter("leaving", step_s=0.05, LORAJOBS_SHUTDOWN_GRACE_S=grace_s)
    job = running.submit(num_inference_steps=MANY, **fields)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    return worker, job


def _finished_elsewhere(running: Line, job: dict[str, Any]) -> dict[str, Any]:
    next_one = running.start_painter("next")
    ended = running.ended(job["id"])
    running.stop([next_one])
    assert (ended["status"], len(ended["outputs"])) == ("succeeded", 1), ended["error"]
    return ended


def test_a_job_that_outlasts_the_grace_goes_back_with_its_ticket_and_without_an_attempt(
    running: Line, broker: "redis.Redis"
) -> None:
    with receiver() as hooks:
        worker, job = _leaving(running, webhook={"url": hooks.url})
        (child,) = children_of(worker.pid)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(EXIT_S) == 0
        # Nobody else was there to do it.
        assert running.job(job["id"])["status"] == "queued"
        assert broker.llen("base.demo") == 1
        assert broker.hlen("unacked") == 0
        assert not os.path.exists(f"/proc/{child}")
        courier = running.start_courier()
        ended = _finished_elsewhere(running, job)
        # The second attempt counts as the first: more are not allowed.
        assert (ended["attempts"], ended["progress"]["step"]) == (2, MANY)
        assert len(hooks.wait(1)) == 1
        running.until(lambda: broker.zcard("lj:outbox") == 0, "no webhook is due")
        assert len(hooks.received) == 1
        running.stop([courier])


def test_a_job_that_ends_within_the_grace_ends_there_and_none_follows(running: Line) -> None:
    # The job is longer than a lease: it must stay renewed while the worker shuts down.
    worker, job = _leaving(running, grace_s="60")
    waiting = running.submit()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(EXIT_S) == 0
    ended = running.job(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 1)
    assert running.warm_workers() == []
    assert running.job(waiting["id"])["status"] == "queued"
    assert _finished_elsewhere(running, waiting)["attempts"] == 1


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_changes_nothing(running: Line, again: signal.Signals) -> None:
    worker, job = _leaving(running, grace_s="60")
    worker.send_signal(signal.SIGTERM)
    running.until(lambda: running.warm_workers() == [], "the worker leaves")
    worker.send_signal(again)
    assert worker.wait(EXIT_S) == 0
    ended = running.job(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 1)


def test_a_child_that_does_not_stop_is_killed_and_its_job_goes_back(
    running: Line, broker: "redis.Redis"
) -> None:
    worker, job = _leaving(running)
    (child,) = children_of(worker.pid)
    os.kill(child, signal.SIGSTOP)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(EXIT_S) == 0
    assert running.job(job["id"])["status"] == "queued"
    assert broker.llen("base.demo") == 1
    assert _finished_elsewhere(running, job)["attempts"] == 2


def test_an_operator_who_does_not_wait_gets_the_job_back_at_once(running: Line) -> None:
    worker, job = _leaving(running, grace_s="600")
    mark = "Hitting Ctrl+C again"
    log = running.folder / "leaving.log"
    for count in (1, 2):
        before = log.read_text().count(mark)
        worker.send_signal(signal.SIGINT)
        running.until(lambda n=before: log.read_text().count(mark) > n, f"Ctrl-C {count}")  # type: ignore[misc]
    worker.wait(EXIT_S)
    assert running.job(job["id"])["status"] == "queued"
    assert _finished_elsewhere(running, job)["attempts"] == 2


def test_a_worker_does_not_load_its_base_to_the_end_only_to_stop(running: Line) -> None:
    worker = running.start("loading", "-m", "tests.services.loading_worker", "demo")
    log = running.folder / "loading.log"
    running.until(lambda: " ready." in log.read_text() and _loads(running), "it loads")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(EXIT_S) == 0


def _loads(running: Line) -> bool:
    (model,) = running.http.get("/v1/models").json()["models"]
    return "loading" in {worker["state"] for worker in model["workers"]}


def test_a_canceled_job_is_not_handed_back(running: Line) -> None:
    worker, job = _leaving(running, grace_s="60")
    worker.send_signal(signal.SIGTERM)
    running.http.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    assert worker.wait(EXIT_S) == 0
    assert running.job(job["id"])["status"] == "canceled"
