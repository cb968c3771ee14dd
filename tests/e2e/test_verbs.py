"""The operator's commands with real workers: drain and resume, requeue, purge, queues."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.services.line import Line, children_of, line
from tests.services.valkey import valkey


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("verbs")
    with valkey(tmp_path_factory.mktemp("verbs-valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
        }
        with line(folder, **env) as made:
            # No courier: it makes up for tickets that are held, and these tests count them.
            made.start_api()
            yield made


def lorajobs(running: Line, *words: str) -> str:
    """What a command prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "lorajobs", *words],
        env=running.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def demo(running: Line) -> dict[str, Any]:
    """The base in `queues --json`."""
    (queue,) = json.loads(lorajobs(running, "queues", "--json"))["queues"]
    return dict(queue)


def state_of(running: Line, pid: int) -> str:
    """What the API says of the worker with this process id."""
    (model,) = running.http.get("/v1/models").json()["models"]
    return next((str(w["state"]) for w in model["workers"] if f"-{pid}@" in w["name"]), "gone")


def name_of(running: Line, pid: int) -> str:
    return next(str(w["name"]) for w in running.warm_workers() if f"-{pid}@" in w["name"])


def test_a_drained_worker_ends_its_job_and_takes_no_more_until_resumed(
    running: Line, painter: int
) -> None:
    name = name_of(running, painter)
    first = running.submit(num_inference_steps=60)
    running.reached(first["id"], lambda job: job["progress"]["step"] > 0)
    assert name in lorajobs(running, "drain", name)
    second = running.submit()
    ended = running.ended(first["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 1)
    running.until(lambda: state_of(running, painter) == "draining", "it is shown as draining")
    running.until(lambda: demo(running)["running"] == 0, "nothing runs")
    queue = demo(running)
    assert (queue["waiting"], queue["tickets"], queue["no_worker"]) == (1, 1, True)
    assert [(w["name"], w["state"], w["job_id"]) for w in queue["workers"]] == [
        (name, "draining", None)
    ]
    # Each process of the API remembers for a second who takes jobs.
    waiting = running.reached(second["id"], lambda job: job["queue"]["reason"] == "no_worker")
    assert waiting["status"] == "queued"
    # Another worker takes over, and the drained one stays out of it.
    other = running.start_painter("other")
    assert running.ended(second["id"])["status"] == "succeeded"
    running.stop([other])
    third = running.submit()
    assert "takes jobs again" in lorajobs(running, "drain", name, "--resume")
    assert running.ended(third["id"])["attempts"] == 1
    running.until(lambda: state_of(running, painter) == "warm", "it is shown as warm")


def test_where_an_adapter_lies_is_told(running: Line, painter: int) -> None:
    asked = {"model": "demo", "prompt": "x", "loras": [{"id": "pixel"}, {"id": "lineart"}]}

    def told() -> list[dict[str, Any]]:
        answer = running.http.post("/v1/jobs?dry_run=1", json=asked).raise_for_status()
        return list(answer.json()["loras"])

    def tiers() -> list[str]:
        return [lora["tier"] for lora in told()]

    # The API shares the disk, and it pins what it sees for the first time.
    running.until(lambda: tiers() == ["disk", "disk"], "both are on the disk")
    running.run(loras=[{"id": "pixel"}])
    running.until(lambda: tiers() == ["applied", "disk"], "one is applied")
    adapters = Path(running.env["LORAJOBS_DATA_DIR"]) / "adapters"
    (adapters / f"{told()[1]['sha256']}.safetensors").unlink()
    running.until(lambda: tiers() == ["applied", "remote"], "the other has left the disk")
    running.run()
    # It is kept in memory if there was time to lay it out there ahead of its job.
    running.until(lambda: tiers()[0] in ("memory", "disk"), "it is applied no more")
    (worker,) = demo(running)["workers"]
    assert "pixel" in worker["disk"]
    assert ("pixel" in worker["memory"]) == (tiers()[0] == "memory")


def test_a_ticket_that_is_held_goes_back(running: Line, painter: int) -> None:
    name = name_of(running, painter)
    with redis.Redis.from_url(running.env["LORAJOBS_REDIS_URL"]) as broker:
        # Workers that were killed before left theirs.
        left = broker.hlen("unacked")
        job = running.ended(running.submit(loras=[{"id": "soft3d"}])["id"])
        # The child says that it has ended before its parent hears of it.
        running.until(lambda: broker.hlen("unacked") == left, "its ticket is acknowledged")
    sha256 = job["applied_loras"][0]["sha256"]
    # Whoever fetches adapters is stopped, so the next job's are never here.
    (child,) = children_of(painter)
    os.kill(child, signal.SIGSTOP)
    (Path(running.env["LORAJOBS_DATA_DIR"]) / "adapters" / f"{sha256}.safetensors").unlink()
    held = running.submit(loras=[{"id": "soft3d"}])
    running.until(lambda: demo(running)["tickets"] == 0, "the ticket is held")
    lorajobs(running, "drain", name)
    running.until(lambda: demo(running)["tickets"] == 1, "the ticket is back")
    os.kill(child, signal.SIGCONT)
    assert running.job(held["id"])["status"] == "queued"
    lorajobs(running, "drain", name, "--resume")
    assert running.ended(held["id"])["status"] == "succeeded"


def test_a_job_submitted_again_tells_of_its_old_one(running: Line, painter: int) -> None:
    old = running.ended(running.submit("fail:bad_picture")["id"])
    new = running.ended(lorajobs(running, "requeue", old["id"]).strip())
    assert (new["status"], new["retry_of"], old["retry_of"]) == ("failed", old["id"], None)
    assert new["input"] == old["input"]


def test_a_purged_queue_is_empty(running: Line) -> None:
    jobs = [running.submit(loras=[{"id": "pixel"}])["id"] for _ in range(3)]
    assert demo(running)["groups"][0]["loras"][0]["id"] == "pixel"
    assert "canceled 3 jobs" in lorajobs(running, "purge", "demo", "--yes")
    assert {running.job(job_id)["status"] for job_id in jobs} == {"canceled"}
    assert demo(running)["waiting"] == 0
