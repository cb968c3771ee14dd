"""Pictures are uploaded beside the next job, and nothing of that is lost when a worker ends."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.services.line import Line, children_of, line
from tests.services.receiver import Receiver, receiver
from tests.services.valkey import valkey

LEASE_S = 2
STEP_S = 0.05
#: Steps of a job that lasts longer than two leases.
MANY = int(2.5 * LEASE_S / STEP_S)
EXIT_S = 30


@pytest.fixture(scope="module")
def bucket() -> Iterator[Receiver]:
    """Takes uploads as an S3 server does, when it is let."""
    with receiver() as made:
        made.choose = lambda _: 200
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, bucket: Receiver) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("finishing")
    with valkey(tmp_path_factory.mktemp("finishing-valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_LEASE_S": str(LEASE_S),
            "LORAJOBS_RENEW_S": "0.5",
            "LORAJOBS_S3_BUCKET": "pictures",
            "LORAJOBS_S3_ENDPOINT": bucket.url,
            "LORAJOBS_S3_ACCESS_KEY": "key",
            "LORAJOBS_S3_SECRET_KEY": "secret",
        }
        with line(folder, **env) as made:
            made.start_api()
            made.start_courier()
            yield made


@pytest.fixture
def worker(running: Line, bucket: Receiver) -> "Iterator[subprocess.Popen[bytes]]":
    made = running.start_painter("finishing", step_s=STEP_S)
    bucket.hold()
    yield made
    bucket.let_go()
    running.stop([made])


def _uploading(running: Line, bucket: Receiver) -> str:
    """A job whose picture is on its way."""
    count = len(bucket.received)
    job_id = str(running.submit()["id"])
    bucket.wait(count + 1)
    return job_id


def test_the_next_job_runs_meanwhile(
    running: Line, bucket: Receiver, worker: "subprocess.Popen[bytes]"
) -> None:
    first = _uploading(running, bucket)
    second = running.submit(num_inference_steps=MANY)["id"]
    running.reached(second, lambda job: job["progress"]["step"] > 0.9 * MANY)
    # Much later than its lease would have ended.
    shown = running.job(first)
    assert (shown["status"], shown["stage"], shown["attempts"]) == ("running", "uploading", 1)
    bucket.let_go()
    for job_id in (first, second):
        ended = running.ended(job_id)
        assert (ended["status"], ended["attempts"]) == ("succeeded", 1), ended["error"]


def test_a_worker_that_is_stopped_uploads_what_it_has_made(
    running: Line, bucket: Receiver, worker: "subprocess.Popen[bytes]"
) -> None:
    job_id = _uploading(running, bucket)
    worker.send_signal(signal.SIGTERM)
    running.until(
        lambda: "shutdown" in (running.folder / "finishing.log").read_text().lower(),
        "the worker shuts down",
    )
    bucket.let_go()
    assert worker.wait(EXIT_S) == 0
    ended = running.ended(job_id)
    assert (ended["status"], ended["attempts"]) == ("succeeded", 1), ended["error"]


def test_what_a_killed_child_did_not_upload_is_made_again(
    running: Line, bucket: Receiver, worker: "subprocess.Popen[bytes]"
) -> None:
    job_id = _uploading(running, bucket)
    (child,) = children_of(worker.pid)
    os.kill(child, signal.SIGKILL)
    bucket.let_go()
    ended = running.ended(job_id)
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2), ended["error"]


def test_a_fault_of_the_device_costs_a_child_and_no_picture(
    running: Line, bucket: Receiver, worker: "subprocess.Popen[bytes]"
) -> None:
    made = _uploading(running, bucket)
    (before,) = children_of(worker.pid)
    # On its last attempt the job fails, so the next one is free for what comes then.
    broken = running.submit(prompt="fail:device_fault")["id"]
    running.until(
        lambda: "the device failed" in (running.folder / "finishing.log").read_text(),
        "the child hears of the fault",
    )
    bucket.let_go()
    ended = running.ended(made)
    assert (ended["status"], ended["attempts"]) == ("succeeded", 1), ended["error"]
    ended = running.ended(broken)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_lost")
    assert running.run()["status"] == "succeeded"
    assert children_of(worker.pid) != [before]
