"""The queue with real processes and a painting engine: exchange, rescue, cancel."""

import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from lorajobs.celery import make_app
from lorajobs.settings import Settings
from tests.services.line import Line, children_of, line
from tests.services.valkey import valkey


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("queue")
    with valkey(tmp_path_factory.mktemp("queue-valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
            "LORAJOBS_CANCEL_GRACE_S": "5",
            "LORAJOBS_STEP_TIMEOUT_S": "2",
        }
        with line(folder, **env) as made:
            made.start_api()
            made.start_courier()
            yield made


def test_jobs_run_in_order_under_their_own_ids(running: Line, painter: int) -> None:
    submitted = [running.submit(seed=i, loras=[{"id": "pixel"}])["id"] for i in range(5)]
    ended = [running.ended(job_id) for job_id in submitted]
    assert {job["status"] for job in ended} == {"succeeded"}
    started = [job["started_at"] for job in ended]
    assert started == sorted(started)
    assert all(job["attempts"] == 1 for job in ended)
    assert all(job["applied_loras"][0]["id"] == "pixel" for job in ended)
    rows = (running.folder / "painter.log").read_text().splitlines()
    told = [job_id for row in rows if " claimed " in row for job_id in submitted if job_id in row]
    assert told == submitted


def test_a_job_says_queued_until_a_worker_begins_it(running: Line, painter: int) -> None:
    first = running.submit(num_inference_steps=40)
    running.reached(first["id"], lambda j: j["progress"]["step"] > 0)
    # The worker has its ticket already.
    second = running.submit(seed=8)
    seen = []
    while running.job(first["id"])["stage"] == "denoising":
        shown = running.job(second["id"])
        if running.job(first["id"])["stage"] == "denoising":
            seen.append((shown["status"], shown["stage"], shown["started_at"], shown["queue"]))
    assert len(seen) > 1
    for status, stage, started_at, queue in seen:
        assert (status, stage, started_at, queue["position"]) == ("queued", None, None, 0)
    assert running.ended(second["id"])["started_at"] > running.job(first["id"])["started_at"]


def test_a_killed_child_gives_its_job_back_at_once(running: Line, painter: int) -> None:
    job = running.submit(num_inference_steps=40)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    (child,) = children_of(painter)
    os.kill(child, signal.SIGKILL)
    ended = running.ended(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)
    assert len(ended["outputs"]) == 1


def test_a_killed_worker_s_job_is_rescued_by_another(running: Line, painter: int) -> None:
    job = running.submit(num_inference_steps=100)
    running.reached(job["id"], lambda j: j["status"] == "running")
    other = running.start_painter("other")
    os.killpg(painter, signal.SIGKILL)
    # The rescue: lease, sweep, claim.
    ended = running.ended(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)
    running.stop([other])


def test_workers_rescue_while_no_courier_runs(running: Line, painter: int) -> None:
    running.stop(running.named("courier"))
    job = running.submit(num_inference_steps=100)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    other = running.start_painter("other")
    os.killpg(painter, signal.SIGKILL)
    ended = running.ended(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)
    running.stop([other])
    running.start_courier()


def test_a_child_that_hangs_is_killed_and_its_job_runs_again(running: Line, painter: int) -> None:
    job = running.submit(num_inference_steps=60)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    (child,) = children_of(painter)
    os.kill(child, signal.SIGSTOP)
    ended = running.ended(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)
    assert children_of(painter) != [child]


def test_a_child_that_hangs_before_it_takes_its_job_is_killed(running: Line, painter: int) -> None:
    (child,) = children_of(painter)
    os.kill(child, signal.SIGSTOP)
    assert running.ended(running.submit()["id"])["status"] == "succeeded"
    assert children_of(painter) != [child]


def test_a_cancellation_takes_effect_within_one_step(running: Line) -> None:
    # Slow enough that every step is told.
    slow = running.start_painter("slow", step_s=0.5)
    job = running.submit(num_inference_steps=20)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 1)
    asked = running.http.post(f"/v1/jobs/{job['id']}/cancel").json()
    ended = running.ended(job["id"])
    assert ended["status"] == "canceled"
    assert ended["progress"]["step"] <= asked["progress"]["step"] + 1
    running.stop([slow])


def test_a_canceled_job_stops_and_the_worker_stays_warm(running: Line, painter: int) -> None:
    job = running.submit(num_inference_steps=100)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    (child,) = children_of(painter)
    reply = running.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert reply.status_code == 202
    ended = running.ended(job["id"])
    assert ended["status"] == "canceled"
    assert ended["progress"]["step"] < 100
    assert children_of(painter) == [child]
    assert running.run()["attempts"] == 1
    again = running.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "canceled")


def test_terminate_kills_a_child_that_does_not_stop_in_its_grace(running: Line) -> None:
    slow = running.start_painter(
        "stubborn", step_s=3.0, LORAJOBS_CANCEL_GRACE_S="0", LORAJOBS_STEP_TIMEOUT_S="60"
    )
    job, other = running.submit(num_inference_steps=100), running.submit(num_inference_steps=1)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    (child,) = children_of(slow.pid)
    with make_app(Settings(redis_url=running.env["LORAJOBS_REDIS_URL"])) as app:
        # As Flower does.
        app.control.revoke(job["id"], terminate=True)
        ended = running.ended(job["id"])
    assert (ended["status"], ended["attempts"]) == ("canceled", 1)
    # Nobody else's job ended with it.
    following = running.ended(other["id"])
    assert (following["status"], following["attempts"]) == ("succeeded", 1)
    assert children_of(slow.pid) != [child]
    running.stop([slow])


def test_a_job_that_kills_its_worker_fails_after_its_attempts(running: Line, painter: int) -> None:
    job = running.submit(num_inference_steps=100)
    for attempt in (1, 2, 3):
        running.reached(
            job["id"],
            lambda j, n=attempt: j["attempts"] == n and j["progress"]["step"] > 0,  # type: ignore[misc]
        )
        for child in children_of(painter):
            os.kill(child, signal.SIGKILL)
    ended = running.ended(job["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_lost")
    assert running.run()["status"] == "succeeded"


def test_adapters_are_on_the_disk_before_a_job_is_claimed(running: Line, painter: int) -> None:
    job = running.ended(running.submit(loras=[{"id": "soft3d"}])["id"])
    cached = Path(running.env["LORAJOBS_DATA_DIR"]) / "adapters"
    file = cached / f"{job['applied_loras'][0]['sha256']}.safetensors"
    file.unlink()
    again = running.ended(running.submit(loras=[{"id": "soft3d"}])["id"])
    assert (again["status"], again["attempts"]) == ("succeeded", 1)
    assert file.is_file()


def test_an_adapter_that_is_gone_fails_its_job_without_an_attempt(
    running: Line, painter: int
) -> None:
    running.ended(running.submit(loras=[{"id": "lineart"}])["id"])
    data = Path(running.env["LORAJOBS_DATA_DIR"])
    (lineart,) = (
        lora["sha256"]
        for lora in running.http.get("/v1/loras").json()["loras"]
        if lora["id"] == "lineart"
    )
    stored = data / "objects" / "adapters" / f"{lineart}.safetensors"
    kept = stored.read_bytes()
    (data / "adapters" / f"{lineart}.safetensors").unlink()
    stored.unlink()
    gone = running.submit(loras=[{"id": "lineart"}])
    fine = running.submit()
    assert running.ended(fine["id"])["status"] == "succeeded"
    ended = running.ended(gone["id"])
    stored.write_bytes(kept)
    assert (ended["status"], ended["attempts"]) == ("failed", 0)
    assert ended["error"]["code"].startswith("lora_")


def test_jobs_are_reordered_to_save_swaps(running: Line) -> None:
    styles = [[{"id": "pixel"}], [], [{"id": "soft3d"}]] * 4
    jobs = [running.submit(loras=loras, seed=i)["id"] for i, loras in enumerate(styles)]
    painter = running.start_painter("sorter")
    ended = sorted((running.ended(job_id) for job_id in jobs), key=lambda j: str(j["started_at"]))
    order = [[lora["id"] for lora in job["applied_loras"]] for job in ended]
    assert sum(a != b for a, b in itertools.pairwise([[], *order])) == 2
    running.stop([painter])


def test_a_failing_job_fails_once_and_a_retryable_one_is_tried_again(
    running: Line, painter: int
) -> None:
    failed = running.ended(running.submit("fail:bad_picture")["id"])
    assert (failed["status"], failed["attempts"]) == ("failed", 1)
    assert failed["error"]["code"] == "bad_picture"
    oom = running.submit("fail:oom")
    tried = running.reached(oom["id"], lambda j: j["attempts"] == 2)
    assert tried["status"] in ("queued", "running")
    running.http.post(f"/v1/jobs/{oom['id']}/cancel")
    assert running.ended(oom["id"])["status"] == "canceled"


def test_a_worker_without_its_ticket_gets_a_new_one(running: Line) -> None:
    job = running.submit()
    client = redis.Redis.from_url(running.env["LORAJOBS_REDIS_URL"], decode_responses=True)
    assert client.delete("base.demo") == 1
    painter = running.start_painter("ticketless")
    assert running.ended(job["id"])["status"] == "succeeded"
    running.stop([painter])
    client.close()


def test_the_message_on_the_broker_names_no_job(running: Line) -> None:
    job = running.submit()
    client = redis.Redis.from_url(running.env["LORAJOBS_REDIS_URL"], decode_responses=True)
    (raw,) = client.lrange("base.demo", 0, -1)
    assert job["id"] not in raw
    assert json.loads(raw)["headers"]["task"] == "lorajobs.generate"
    running.http.post(f"/v1/jobs/{job['id']}/cancel")
    client.close()
