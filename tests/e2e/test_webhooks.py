"""Webhooks by real couriers: killed, slowed down, and read by the documentation's receiver."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from bench.webhooks import end_job, under_fire
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.webhook_secrets import new_secret
from tests.services.line import Line, line
from tests.services.receiver import Receiver, receiver
from tests.services.server import HOST, free_ports, running
from tests.services.valkey import valkey

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture
def posted(tmp_path: Path) -> Iterator[tuple[Line, RedisJobStore]]:
    """A line without processes, and its store."""
    with (
        valkey(tmp_path) as server,
        line(
            tmp_path,
            LORAJOBS_REDIS_URL=server.url,
            LORAJOBS_WEBHOOK_TIMEOUT_S="100",
            LORAJOBS_SWEEP_S="0.1",
        ) as made,
    ):
        yield made, RedisJobStore(connect(server.url))


def test_every_end_is_announced_under_one_id_whatever_the_receiver_does_and_who_dies(
    tmp_path: Path,
) -> None:
    report = under_fire(jobs=40, kills=3, seed=1, folder=tmp_path)
    assert report.is_good, report
    # There was a fire.
    assert report.failed > 5
    assert report.hung > 2


def test_a_host_that_hangs_slows_nobody(posted: tuple[Line, RedisJobStore]) -> None:
    made, store = posted
    with receiver() as dead, receiver() as alive:
        dead.hold()
        for number in range(60):
            end_job(store, f"dead-{number}", dead.url)
        made.start_courier()
        dead.wait(4)
        for number in range(30):
            end_job(store, f"alive-{number}", alive.url)
        alive.wait(30)
        # None of its tries has ended, and all others wait for those.
        assert len(dead.received) == 4
        dead.let_go()
        dead.wait(60)


def test_a_running_job_tells_of_its_start_and_its_progress(
    posted: tuple[Line, RedisJobStore],
) -> None:
    made, _ = posted
    with receiver() as hooks:
        made.start_api()
        made.start_courier()
        made.start_painter(step_s=0.1)
        events = ["started", "progress", "succeeded"]
        job = made.submit(webhook={"url": hooks.url, "events": events}, num_inference_steps=50)
        assert made.ended(job["id"])["status"] == "succeeded"
        made.until(lambda: "job.succeeded" in told(hooks), "the end is announced")
        kinds = Counter(told(hooks))
        listed = made.http.get(f"/v1/jobs/{job['id']}/deliveries").json()["deliveries"]
    # Couriers send beside each other, so no order is promised.
    assert (kinds.pop("job.started"), kinds.pop("job.succeeded")) == (1, 1)
    assert list(kinds) == ["job.progress"]
    assert [(d["event"], d["status"]) for d in listed] == [
        ("job.started", "delivered"),
        ("job.succeeded", "delivered"),
    ]


def told(hooks: Receiver) -> list[str]:
    """The kinds of events in the order in which they came."""
    return [json.loads(hook.body)["type"] for hook in list(hooks.received)]


def test_the_documented_receiver_takes_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    script = tmp_path / "receive.py"
    script.write_text(code)
    secret, (port,) = new_secret(), free_ports(1)
    url = f"http://{HOST}:{port}/"
    env = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)}

    def listens(pid: int) -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 501
        except httpx.TransportError:
            return False

    with running([sys.executable, str(script)], tmp_path, listens, deadline_s=30, env=env):
        now = datetime.now(UTC)
        body = '{"type": "job.succeeded", "data": {"id": "the-job"}}'
        headers = {
            "webhook-id": "the-job.succeeded",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("the-job.succeeded", now, body),
        }

        def post(content: str) -> int:
            return httpx.post(url, content=content, headers=headers, trust_env=False).status_code

        assert (post(body), post(body), post(body.replace("the", "a"))) == (204, 204, 400)
        said = (tmp_path / "server.log").read_text()
        assert said.count("job.succeeded the-job") == 1
