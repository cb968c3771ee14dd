"""Workers of several bases, as real processes with a painting engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lorajobs.catalog import DEMO
from tests.services.line import Line, line
from tests.services.valkey import valkey

#: Seconds; longer than a look at the queue and a job take together.
LOAD_S = 1.5


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Line]:
    config = tmp_path / "lorajobs.toml"
    path = DEMO.parent / "base"
    config.write_text(f'[models.demo]\npath = "{path}"\n[models.twin]\npath = "{path}"\n')
    (tmp_path / "valkey").mkdir()
    with (
        valkey(tmp_path / "valkey") as server,
        line(tmp_path, LORAJOBS_REDIS_URL=server.url, LORAJOBS_CONFIG=str(config)) as made,
    ):
        made.start_api()
        made.start_courier()
        yield made


def changed(job: dict[str, object]) -> bool:
    """True if the base was changed for this job."""
    metrics = job["metrics"]
    assert isinstance(metrics, dict)
    return metrics["base_s"] is not None


def states(running: Line) -> dict[str, str]:
    """Of each base, that of the worker nearest to a job."""
    models = running.http.get("/v1/models").raise_for_status().json()["models"]
    return {model["id"]: model["state"] for model in models}


def test_one_worker_serves_both_and_changes_seldom(running: Line) -> None:
    ids = [running.submit(model=("demo", "twin")[number % 2])["id"] for number in range(12)]
    waiting = running.job(ids[-1])
    assert waiting["queue"]["reason"] == "no_worker"
    running.start_painter(bases="demo,twin", load_s=LOAD_S)
    ended = [running.ended(job_id) for job_id in ids]
    assert {job["status"] for job in ended} == {"succeeded"}
    # In the order of their submits it would be eleven times.
    assert sum(map(changed, ended)) == 1
    running.until(lambda: states(running) == {"demo": "parked", "twin": "warm"}, "twin is loaded")
    # Nobody waits for nothing: the other base is a job away, and was not loaded again.
    assert changed(running.run())
    assert "base returned" in running.logs()
    running.until(lambda: states(running) == {"demo": "warm", "twin": "parked"}, "demo is back")
    assert running.submit(model="twin")["queue"]["reason"] == "waiting"


def test_a_job_goes_to_the_worker_that_has_its_base(running: Line) -> None:
    running.start_painter("first", bases="demo,twin", load_s=LOAD_S)
    running.start_painter("second", bases="twin,demo", load_s=LOAD_S)
    for number in range(8):
        job = running.run(model=("demo", "twin")[number % 2])
        assert not changed(job), running.logs()
        assert job["attempts"] == 1


def test_an_idle_worker_frees_its_device_until_the_next_job(running: Line) -> None:
    # Longer than the time between two looks at the worker, which must be seen warm.
    running.start_painter(LORAJOBS_UNLOAD_IDLE_S="1", LORAJOBS_RENEW_S="0.2")
    running.until(lambda: states(running)["demo"] == "parked", "the base is parked")
    (worker,) = running.http.get("/v1/models").json()["models"][0]["workers"]
    assert (worker["state"], worker["parked"]) == ("unloaded", ["demo"])
    job = running.run()
    assert job["status"] == "succeeded"
    assert changed(job)
    assert "base returned" in running.logs()
    running.until(lambda: states(running)["demo"] == "parked", "it is parked again")
