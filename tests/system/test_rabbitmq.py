"""The same line with RabbitMQ as broker: quorum queues, the state still in Valkey."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.services.line import Line, children_of, line
from tests.services.rabbitmq import rabbitmq
from tests.services.valkey import valkey

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def amqp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with (
        valkey(tmp_path_factory.mktemp("valkey")) as server,
        rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as broker,
    ):
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_BROKER_URL": broker,
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
        }
        with line(tmp_path_factory.mktemp("amqp"), **env) as made:
            made.start_api()
            made.start_courier()
            yield made


def test_jobs_run_under_their_own_ids_and_survive_kills(amqp: Line) -> None:
    painter = amqp.start_painter(step_s=0.05)
    submitted = [amqp.submit(seed=i)["id"] for i in range(4)]
    assert {amqp.ended(job_id)["status"] for job_id in submitted} == {"succeeded"}
    log = (amqp.folder / "painter.log").read_text()
    assert all(f"lorajobs.generate[{job_id}]" in log for job_id in submitted)

    killed = amqp.submit(num_inference_steps=40)
    amqp.reached(killed["id"], lambda j: j["progress"]["step"] > 0)
    for child in children_of(painter.pid):
        os.kill(child, signal.SIGKILL)
    ended = amqp.ended(killed["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)

    lost = amqp.submit(num_inference_steps=100)
    amqp.reached(lost["id"], lambda j: j["progress"]["step"] > 0)
    other = amqp.start_painter("other")
    os.killpg(painter.pid, signal.SIGKILL)
    ended = amqp.ended(lost["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 2)

    running = amqp.submit(num_inference_steps=100)
    amqp.stop([other])
    third = amqp.start_painter("third", step_s=0.05)
    amqp.reached(running["id"], lambda j: j["progress"]["step"] > 0)
    assert amqp.http.post(f"/v1/jobs/{running['id']}/cancel").status_code == 202
    assert amqp.ended(running["id"])["status"] == "canceled"
    amqp.stop([third])


def test_a_worker_that_is_stopped_hands_its_job_and_its_ticket_back(amqp: Line) -> None:
    # Nobody is there to mint a new one.
    amqp.stop(amqp.named("courier"))
    leaving = amqp.start_painter("leaving", step_s=0.05, LORAJOBS_SHUTDOWN_GRACE_S="0.5")
    job = amqp.submit(num_inference_steps=60)
    amqp.reached(job["id"], lambda j: j["progress"]["step"] > 0)
    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(30) == 0
    assert amqp.job(job["id"])["status"] == "queued"
    following = amqp.start_painter("following")
    assert amqp.ended(job["id"])["status"] == "succeeded"
    amqp.stop([following])
    amqp.start_courier()
