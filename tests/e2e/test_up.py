"""`lorajobs up`: Ctrl-C and SIGKILL leave no process, and a second `up` goes on with the queue."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.services.line import Line, line


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Line]:
    with line(tmp_path) as made:
        yield made


def up(home: Line) -> "subprocess.Popen[bytes]":
    process = home.start("up", "-m", "lorajobs", "up", "--port", str(home.port))
    home.until(lambda: bool(_answers(home) and home.warm_workers()), "up is warm", 90)
    return process


def _answers(home: Line) -> bool:
    try:
        return home.http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_ctrl_c_leaves_nothing_and_the_next_up_goes_on(home: Line) -> None:
    first = up(home)
    done = home.run()
    running = home.submit(num_inference_steps=100)
    home.reached(running["id"], lambda j: j["progress"]["step"] > 0)
    waiting = [home.submit(seed=i)["id"] for i in range(3)]
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=60) == 0
    assert home.left() == {}
    up(home)
    for job_id in (running["id"], *waiting):
        ended = home.ended(job_id)
        assert (ended["status"], ended["attempts"]) == ("succeeded", 1), home.logs()
    kept = home.job(done["id"])
    assert kept["status"] == "succeeded"
    assert home.http.get(kept["outputs"][0]["url"]).status_code == 200


def test_a_killed_up_leaves_nothing(home: Line) -> None:
    process = up(home)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    home.until(lambda: home.left() == {}, "all processes are gone", 20)
