"""Following a job through real processes: API under gunicorn, a worker that paints, Valkey."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lorajobs.client import TERMINAL, Client, JobEvent
from tests.services.line import Line, line
from tests.services.server import HOST
from tests.services.valkey import valkey

STEPS = 12
LISTENERS = 200


@contextmanager
def api_line(tmp_path_factory: pytest.TempPathFactory, **env: str) -> Iterator[Line]:
    with valkey(tmp_path_factory.mktemp("events-valkey")) as server:
        settings = {"LORAJOBS_REDIS_URL": server.url, **env}
        with line(tmp_path_factory.mktemp("events"), **settings) as made:
            made.start_api()
            yield made


@pytest.fixture(scope="module")
def painting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with api_line(tmp_path_factory) as made:
        made.start_painter(step_s=0.05)
        yield made


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """An API of one process with one place for listeners, and without workers."""
    env = {
        "LORAJOBS_API_WORKERS": "1",
        "LORAJOBS_API_LISTENERS": "1",
        "LORAJOBS_HEARTBEAT_S": "0.05",
    }
    with api_line(tmp_path_factory, **env) as made:
        yield made


@pytest.fixture
def client(painting: Line) -> Iterator[Client]:
    with Client(painting.url) as made:
        yield made


def submit(client: Client, steps: int = STEPS) -> str:
    body = {"model": "demo", "prompt": "a red heart", "num_inference_steps": steps}
    return str(client.submit(body)["id"])


def shown(events: Iterable[JobEvent]) -> list[tuple[str, str, Any]]:
    """The events without what differs each time that a job is shown: the URLs of its pictures."""
    return [
        (event.id, event.kind, event.data["status"] if event.kind in TERMINAL else event.data)
        for event in events
    ]


def kinds(events: "list[JobEvent]") -> list[str]:
    """The events without progress."""
    return [event.kind for event in events if event.kind != "progress"]


def test_progress_arrives_live_and_in_order(client: Client) -> None:
    job_id = submit(client)
    seen, before_its_end = [], []
    for event in client.stream(job_id):
        seen.append(event)
        if event.kind == "progress" and client.get(job_id)["status"] == "running":
            before_its_end.append(event)
    assert kinds(seen) == ["queued", "running", "succeeded"]
    assert before_its_end
    steps = [event.data["step"] for event in seen if event.kind == "progress"]
    assert steps == sorted(steps)
    assert {e.data["steps"] for e in seen if e.kind == "progress"} == {STEPS}
    assert seen[-1].data["progress"] == {"step": STEPS, "steps": STEPS}
    ids = [tuple(map(int, event.id.split("-"))) for event in seen]
    assert ids == sorted(set(ids))


def test_a_connection_that_is_cut_again_and_again_misses_and_repeats_nothing(
    client: Client,
) -> None:
    job_id = submit(client)
    heard: list[JobEvent] = []
    while not heard or heard[-1].kind not in TERMINAL:
        with closing(client.stream(job_id, heard[-1].id if heard else "")) as told:
            heard.append(next(told))
    assert shown(heard) == shown(client.stream(job_id))
    assert list(client.stream(job_id, heard[-1].id)) == []


def test_a_stream_outlives_the_api(painting: Line, client: Client) -> None:
    job_id = submit(client, 40)
    heard: list[JobEvent] = []
    for event in client.stream(job_id):
        heard.append(event)
        if event.kind == "running":
            painting.restart_api()
    assert shown(heard) == shown(client.stream(job_id))


def test_a_stream_outlives_redis(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        with valkey(tmp_path / "valkey", aof=True) as first:
            made = stack.enter_context(line(tmp_path, LORAJOBS_REDIS_URL=first.url))
            made.start_api()
            client = stack.enter_context(Client(made.url))
            job_id = submit(client)
            told = client.stream(job_id)
            heard = [next(told)]
            later = pool.submit(list, told)
        with valkey(tmp_path / "valkey", aof=True, port=first.port):
            made.until(lambda: made.answers("/readyz"), "the API has its store again")
            client.cancel(job_id)
            heard += later.result(60)
    assert [event.kind for event in heard] == ["queued", "canceled"]


def test_wait_returns_at_the_end_of_the_job(client: Client) -> None:
    body = {"model": "demo", "prompt": "a red heart", "num_inference_steps": STEPS}
    assert client.submit(body, wait_s=60)["status"] == "succeeded"
    assert client.wait(submit(client), timeout_s=60)["status"] == "succeeded"


def test_submit_watches_to_the_end_and_saves_the_picture(painting: Line, tmp_path: Path) -> None:
    picture = tmp_path / "heart.png"
    words = ["submit", "a red heart", "--model", "demo", "--watch", "-o", str(picture)]
    ended = subprocess.run(
        [sys.executable, "-m", "lorajobs", *words, "--url", painting.url],
        env=painting.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert "saved" in ended.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_canceled_job_ends_its_stream(client: Client) -> None:
    job_id = submit(client, 100)
    for event in client.stream(job_id):
        if event.kind == "progress":
            client.cancel(job_id)
    assert (event.kind, event.data["status"]) == ("canceled", "canceled")


def test_many_listeners_while_others_look(client: Client, painting: Line) -> None:
    job_id = submit(client, 100)
    with ExitStack() as stack, ThreadPoolExecutor(LISTENERS) as pool:
        clients = [stack.enter_context(Client(painting.url)) for _ in range(LISTENERS)]
        heard = [pool.submit(lambda c: list(c.stream(job_id)), each) for each in clients]
        looks = 0
        while not all(each.done() for each in heard):
            assert client.get(job_id)["id"] == job_id
            looks += 1
        expected = list(client.stream(job_id))
        assert all(shown(each.result()) == shown(expected) for each in heard)
    assert looks > 1
    assert kinds(expected) == ["queued", "running", "succeeded"]


def listener(made: Line, job_id: str) -> "tuple[int, socket.socket]":
    """The status of a request for a job's events, and its connection."""
    sock = socket.create_connection((HOST, made.port), timeout=30)
    request = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {HOST}:{made.port}\r\n\r\n"
    sock.sendall(request.encode())
    answer = http.client.HTTPResponse(sock)
    answer.begin()
    if answer.status != 200:
        assert json.loads(answer.read())["code"] == "too_many_listeners"
        assert answer.headers["Retry-After"]
    return answer.status, sock


def test_a_client_that_goes_away_leaves_its_place(narrow: Line) -> None:
    job_id = str(narrow.submit()["id"])
    for _ in range(3):
        status, sock = listener(narrow, job_id)
        assert status == 200
        refused, other = listener(narrow, job_id)
        assert refused == 503
        other.close()
        assert narrow.answers(f"/v1/jobs/{job_id}")
        sock.close()

        def takes_another() -> bool:
            found, fresh = listener(narrow, job_id)
            fresh.close()
            return found == 200

        narrow.until(takes_another, "the place is free")
        narrow.until(lambda: listens(narrow, job_id), "and the one that looked too")


def listens(made: Line, job_id: str) -> bool:
    """True if a listener finds a place, which it leaves at once by waiting for no event."""
    looked = made.http.head(f"/v1/jobs/{job_id}/events")
    return looked.status_code == 200


def test_a_connection_that_ends_with_a_refused_upload_is_said_to_end(narrow: Line) -> None:
    headers = {"content-type": "application/octet-stream"}
    for _ in range(3):
        refused = narrow.http.put("/v1/loras/new", content=b"0" * 2_000_000, headers=headers)
        assert (refused.status_code, refused.headers["connection"]) == (422, "close")
        # A client that was not told would ask on the same connection, and be cut off.
        assert narrow.http.get("/readyz").status_code == 200


def test_listeners_do_not_hold_up_the_end_of_the_api(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with api_line(tmp_path_factory, LORAJOBS_HEARTBEAT_S="0.2") as made:
        job_id = str(made.submit()["id"])
        status, sock = listener(made, job_id)
        assert status == 200
        (api,) = made.named("api")
        begun = time.monotonic()
        api.terminate()
        assert api.wait(60) == 0
        # gunicorn's own patience is 30 s.
        assert time.monotonic() - begun < 25
        sock.settimeout(10)
        while sock.recv(65536):
            pass
        sock.close()
