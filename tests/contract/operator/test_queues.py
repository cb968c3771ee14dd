"""What `lorajobs queues` shows on a real server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from lorajobs.adapters.registry import LoraRecord, RedisLoraRegistry
from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import Job
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.settings import Settings
from tests.contract.operator.conftest import Run
from tests.contract.operator.workers import DISK, live
from tests.jobs import an_adapter, use


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
