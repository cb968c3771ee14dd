"""The test servers themselves: real, alone on their ports, and gone with the run."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.services.server import HOST, running
from tests.services.valkey import valkey

RUN = """
import signal, sys
from pathlib import Path
from tests.services.valkey import valkey
with valkey(Path(sys.argv[1])) as server:
    print(server.port, flush=True)
    signal.pause()
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_a_killed_run_leaves_no_server(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", RUN, str(tmp_path)]
    run = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    with run.stdout:
        port = int(run.stdout.readline())
    assert listens(port)

    run.send_signal(signal.SIGKILL)
    run.wait()

    deadline = time.monotonic() + 30
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not listens(port)


def test_a_valkey_with_aof_survives_a_crash(tmp_path: Path) -> None:
    with valkey(tmp_path, aof=True) as first, redis.Redis.from_url(first.url) as client:
        client.set("key", "value")
    with (
        valkey(tmp_path, aof=True, port=first.port) as second,
        redis.Redis.from_url(second.url) as client,
    ):
        assert client.get("key") == b"value"
        assert second.pid != first.pid


def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "print('no such option'); raise SystemExit(3)"]

    with (
        pytest.raises(RuntimeError, match=r"(?s)ended with 3.*no such option"),
        running(argv, tmp_path, lambda _: False, deadline_s=30),
    ):
        pass


def test_a_server_that_never_answers_is_killed(tmp_path: Path) -> None:
    pids: list[int] = []

    def never(pid: int) -> bool:
        pids.append(pid)
        return False

    argv = [sys.executable, "-c", "import signal; signal.pause()"]
    with (
        pytest.raises(RuntimeError, match=r"not ready within 0\.5 s"),
        running(argv, tmp_path, never, deadline_s=0.5),
    ):
        pass

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
