"""The broker's answer to a settled message is lost: who consumes connects anew and goes on."""

import os
import signal
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from lorajobs.courier import PREFETCH
from tests.services.cut_proxy import CutProxy
from tests.services.line import Line, children_of, line
from tests.services.receiver import receiver
from tests.services.server import HOST, serving
from tests.services.valkey import valkey

#: How kombu's Redis transport begins to settle a message: to acknowledge it, to return it.
ACKNOWLEDGE = b"HDEL\r\n$7\r\nunacked\r\n"
RETURN = b"WATCH\r\n$7\r\nunacked\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("settlement")
    with valkey(tmp_path_factory.mktemp("settlement-valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
            "LORAJOBS_STEP_TIMEOUT_S": "2",
        }
        with line(folder, **env) as made:
            made.start_api()
            yield made


@pytest.fixture
def proxy(running: Line) -> Iterator[CutProxy]:
    """A way to the broker that can be cut."""
    port = urlsplit(running.env["LORAJOBS_REDIS_URL"]).port
    assert port is not None
    with serving(CutProxy(port)) as made:
        yield made


def _through(proxy: CutProxy) -> str:
    return f"redis://{HOST}:{proxy.port}/0"


@pytest.mark.parametrize(
    ("killed", "words"), [(False, ACKNOWLEDGE), (True, RETURN)], ids=["acknowledged", "returned"]
)
def test_a_worker_goes_on_although_the_answer_to_its_ticket_is_lost(
    running: Line, proxy: CutProxy, killed: bool, words: bytes
) -> None:
    painter = running.start_painter(step_s=0.05, LORAJOBS_REDIS_URL=_through(proxy))
    job = running.submit(num_inference_steps=20)
    running.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    proxy.cut_at(words)
    if killed:
        for child in children_of(painter.pid):
            os.kill(child, signal.SIGKILL)
    assert running.ended(job["id"])["status"] == "succeeded"
    running.until(lambda: proxy.cuts == 1, "the answer is lost")
    assert running.run()["attempts"] == 1
    running.stop([painter])


def test_a_courier_goes_on_although_the_answers_to_as_many_messages_as_it_may_hold_are_lost(
    running: Line, proxy: CutProxy
) -> None:
    proxy.cut_at(ACKNOWLEDGE, times=PREFETCH)
    through = _through(proxy)
    courier = running.start("cut-courier", "-m", "lorajobs", "courier", LORAJOBS_REDIS_URL=through)
    with receiver() as hooks:

        def announced() -> set[str]:
            return {request.headers["webhook-id"] for request in hooks.received}

        def announce(count: int) -> None:
            for _ in range(count):
                job = running.submit(webhook={"url": hooks.url})
                running.http.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()

        announce(PREFETCH)
        running.until(lambda: proxy.cuts >= PREFETCH, "the answers are lost")
        # Had it kept any message that it cannot settle, no place would be left for these.
        announce(8)
        running.until(lambda: len(announced()) == PREFETCH + 8, "every webhook has come")
    assert courier.poll() is None
    running.stop([courier])
