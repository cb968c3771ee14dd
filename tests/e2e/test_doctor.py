"""A whole line: the doctor finds nothing wrong, and one id leads from a request to its webhook."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from lorajobs.cli import main
from lorajobs.logs import REQUEST_ID
from tests.services.line import Line, line
from tests.services.receiver import Receiver, receiver
from tests.services.valkey import valkey

PROMPT = "a prompt that no log may hold"
ASKED = "test-request-1"


@pytest.fixture(scope="module")
def hooked() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("doctor")
    with valkey(folder, aof=True) as server:
        env = {"LORAJOBS_REDIS_URL": server.url, "LORAJOBS_LOG_FORMAT": "json"}
        with line(folder, **env) as made:
            made.start_courier()
            made.start_api()
            made.start_painter()
            yield made


def told(made: Line, name: str) -> list[dict[str, Any]]:
    """What a process has logged, every line of it as JSON."""
    text = (made.folder / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_doctor_finds_nothing_wrong(running: Line) -> None:
    environment = {k: v for k, v in running.env.items() if k.startswith("LORAJOBS_")}
    environment |= {"LORAJOBS_API_URL": running.url, "LORAJOBS_DEVICE": "cpu"}
    result = CliRunner().invoke(main, ["doctor"], env=environment)
    assert result.exit_code == 0, result.output
    for said in ("courier-", "demo: 1 warm, 0 jobs wait", "is ready", "it asks for no key"):
        assert said in result.output
    # That test processes have a CPU only is no fault of theirs.
    assert "on the CPU as the settings say" in result.output


def test_one_id_leads_from_the_request_to_the_webhook(running: Line, hooked: Receiver) -> None:
    body = {
        "model": "demo",
        "prompt": PROMPT,
        "loras": [{"id": "pixel", "scale": 0.7}],
        "webhook": {"url": hooked.url},
    }
    answer = running.http.post("/v1/jobs", json=body, headers={REQUEST_ID: ASKED})
    assert answer.headers[REQUEST_ID] == ASKED
    job_id = answer.json()["id"]
    assert running.ended(job_id)["status"] == "succeeded"
    (hook,) = hooked.wait(1)
    assert hook.headers[REQUEST_ID.lower()] == ASKED
    running.until(
        lambda: any(said.get("event") == "webhook delivered" for said in told(running, "courier")),
        "the courier says so",
    )
    steps = {
        name: [said for said in told(running, name) if said.get("job") == job_id]
        for name in ("api", "painter", "courier")
    }
    assert {said["request_id"] for of in steps.values() for said in of} == {ASKED}
    events = {name: [said["event"] for said in of if "event" in said] for name, of in steps.items()}
    assert events == {
        "api": ["accepted"],
        "painter": ["claimed", "adapters applied", "generated", "stored", "succeeded"],
        "courier": ["webhook delivered"],
    }
    for said in steps["painter"]:
        assert said["base"] == "demo"
        assert said["adapters"] == [{"id": "pixel", "scale": 0.7}]
        assert said["attempt"] == 1
    assert all(said["generate_ms"] > 0 for said in steps["painter"] if said["event"] == "generated")
    assert PROMPT not in running.logs()


def test_the_base_and_the_process_are_told(running: Line) -> None:
    (loaded,) = (said for said in told(running, "painter") if said.get("event") == "base loaded")
    assert loaded["base"] == "demo"
    assert loaded["load_ms"] >= 0
    assert str(loaded["process"]).startswith("demo-")
    assert {said["process"] for said in told(running, "api")} == {"api"}


def test_a_failed_job_is_told_with_its_code(running: Line, hooked: Receiver) -> None:
    failed = running.submit("fail:bad_picture")
    assert running.ended(failed["id"])["status"] == "failed"

    def ended() -> list[dict[str, Any]]:
        said = told(running, "painter")
        return [s for s in said if s.get("job") == failed["id"] and s.get("event") == "failed"]

    running.until(lambda: bool(ended()), "the painter says so")
    (said,) = ended()
    assert said["level"] == "WARNING"
    assert "bad_picture" in said["reason"]
