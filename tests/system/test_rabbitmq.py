"""The same line with RabbitMQ as broker: quorum queues, the state still in Valkey."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from lorajobs.catalog import Catalog
from lorajobs.celery import make_app
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_client import connect
from lorajobs.settings import Settings
from lorajobs.tickets import TicketQueue
from tests.scrape import Scrape
from tests.services.flower import flower
from tests.services.line import Line, children_of, line
from tests.services.rabbitmq import DELIVERY_LIMIT, RabbitMQ, rabbitmq
from tests.services.valkey import valkey

pytestmark = pytest.mark.system

QUEUE = Catalog.load(None).require("demo").queue
LONG = 60


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as made:
        yield made


@pytest.fixture(scope="module")
def amqp(tmp_path_factory: pytest.TempPathFactory, broker: RabbitMQ) -> Iterator[Line]:
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        env = {
            "LORAJOBS_REDIS_URL": server.url,
            "LORAJOBS_BROKER_URL": broker.url,
            "LORAJOBS_LEASE_S": "2",
            "LORAJOBS_RENEW_S": "0.5",
        }
        with line(tmp_path_factory.mktemp("amqp"), **env) as made:
            made.start_api()
            made.start_courier()
            yield made


def running(amqp: Line) -> str:
    """A job that a worker has begun and that takes it some seconds."""
    job_id = str(amqp.submit(num_inference_steps=LONG)["id"])
    amqp.reached(job_id, lambda j: j["progress"]["step"] > 0)
    return job_id


def scraped(amqp: Line) -> Scrape:
    return Scrape(amqp.http.get("/metrics").raise_for_status().text)


def tickets(amqp: Line) -> float:
    return scraped(amqp).value("lorajobs_tickets", base="demo")


def assert_ended_once(amqp: Line, job_id: str, status: str, attempts: int) -> None:
    ended = amqp.ended(job_id)
    assert (ended["status"], ended["attempts"]) == (status, attempts)
    client: Any = connect(amqp.env["LORAJOBS_REDIS_URL"])
    told = [fields["event"] for _, fields in client.xrange(f"lorajobs:events:{job_id}")]
    client.close()
    assert told.count("running") == attempts
    assert [event for event in told if event in {"succeeded", "failed", "canceled"}] == [status]


def test_jobs_run_under_their_own_ids_and_survive_kills(amqp: Line) -> None:
    painter = amqp.start_painter(step_s=0.05)
    submitted = [amqp.submit(seed=i)["id"] for i in range(4)]
    assert {amqp.ended(job_id)["status"] for job_id in submitted} == {"succeeded"}
    log = (amqp.folder / "painter.log").read_text()
    assert all(job_id in log for job_id in submitted)

    killed = running(amqp)
    for child in children_of(painter.pid):
        os.kill(child, signal.SIGKILL)
    assert_ended_once(amqp, killed, "succeeded", 2)

    lost = running(amqp)
    os.killpg(painter.pid, signal.SIGKILL)
    other = amqp.start_painter("other", step_s=0.05)
    assert_ended_once(amqp, lost, "succeeded", 2)
    # The broker gives the dead worker's ticket out again, and the rescue has made another.
    amqp.until(lambda: tickets(amqp) == 0, "the surplus ticket is gone")

    canceled = running(amqp)
    assert amqp.http.post(f"/v1/jobs/{canceled}/cancel").status_code == 202
    assert_ended_once(amqp, canceled, "canceled", 1)
    amqp.stop([other])


def test_a_job_that_kills_every_child_ends_and_leaves_no_ticket(amqp: Line) -> None:
    painter = amqp.start_painter("poisoned", step_s=0.05)
    poison, following = running(amqp), amqp.submit()["id"]
    for attempt in (1, 2, 3):
        amqp.reached(
            poison,
            lambda j, n=attempt: j["attempts"] == n and j["progress"]["step"] > 0,  # type: ignore[misc]
        )
        for child in children_of(painter.pid):
            os.kill(child, signal.SIGKILL)
    assert_ended_once(amqp, poison, "failed", 3)
    assert_ended_once(amqp, following, "succeeded", 1)
    amqp.until(lambda: tickets(amqp) == 0, "no ticket goes round")
    amqp.stop([painter])


def test_a_worker_that_is_stopped_hands_its_job_and_its_ticket_back(amqp: Line) -> None:
    # Nobody is there to mint a new one.
    amqp.stop(amqp.named("courier"))
    leaving = amqp.start_painter("leaving", step_s=0.05, LORAJOBS_SHUTDOWN_GRACE_S="0.5")
    job_id = running(amqp)
    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(30) == 0
    assert amqp.job(job_id)["status"] == "queued"
    following = amqp.start_painter("following")
    assert amqp.ended(job_id)["status"] == "succeeded"
    amqp.stop([following])
    amqp.start_courier()


def test_a_ticket_that_the_broker_drops_is_replaced(amqp: Line) -> None:
    amqp.stop(amqp.named("courier"))
    job_id = str(amqp.submit()["id"])
    with Connection(amqp.env["LORAJOBS_BROKER_URL"]) as connection:
        channel = connection.channel()
        deliveries = 0
        while (message := channel.basic_get(QUEUE)) is not None:
            deliveries += 1
            channel.basic_reject(message.delivery_tag, requeue=True)
    assert deliveries == DELIVERY_LIMIT + 1
    assert tickets(amqp) == 0
    assert amqp.job(job_id)["status"] == "queued"
    amqp.start_courier()
    painter = amqp.start_painter("rescuer")
    assert_ended_once(amqp, job_id, "succeeded", 1)
    amqp.stop([painter])


def test_waiting_tickets_and_a_running_job_outlive_the_brokers_death(
    amqp: Line, broker: RabbitMQ
) -> None:
    painter = amqp.start_painter("patient", step_s=0.05)
    # Nobody is there to mint new ones.
    amqp.stop(amqp.named("courier"))
    begun = running(amqp)
    waiting = [str(amqp.submit(seed=i)["id"]) for i in range(3)]
    assert tickets(amqp) == 3
    broker.kill()
    assert scraped(amqp).value("lorajobs_up", part="broker") == 0
    broker.start()
    for job_id in (begun, *waiting):
        assert_ended_once(amqp, job_id, "succeeded", 1)
    amqp.until(lambda: tickets(amqp) == 0, "each ticket is settled")
    amqp.stop([painter])
    amqp.start_courier()


def test_a_connection_that_is_older_than_the_broker_costs_no_ticket(broker: RabbitMQ) -> None:
    settings = Settings(broker_url=broker.url)
    queue = TicketQueue(make_app(settings), settings)
    # A plain queue, which is there as soon as the broker is.
    queue.publish("plain", 2)
    broker.kill()
    broker.start()
    queue.publish("plain")
    assert queue.depth("plain") == 3


def test_a_broker_that_hangs_holds_nobody_for_long(broker: RabbitMQ) -> None:
    settings = Settings(broker_url=broker.url)
    queue = TicketQueue(make_app(settings), settings)
    queue.publish("silent")
    with broker.frozen(), pytest.raises(StoreUnavailable):
        queue.publish("silent")
    queue.publish("silent")
    assert queue.depth("silent") >= 2


def test_flower_shows_and_ends_the_jobs(amqp: Line) -> None:
    painter = amqp.start_painter("shown", step_s=0.05)
    with flower(amqp) as shown:
        assert shown.asks_who()
        job = amqp.run(loras=[{"id": "lineart", "scale": 0.8}])
        task = shown.seen(job["id"], "SUCCESS")
        assert task["name"] == "lorajobs.generate"
        assert "lineart:0.8" in task["kwargs"]
        begun, waiting = running(amqp), str(amqp.submit()["id"])
        shown.revoke(waiting, terminate=False)
        shown.revoke(begun, terminate=True)
        assert_ended_once(amqp, begun, "canceled", 1)
        # Celery hears of it as it takes the ticket, and that is when the job is claimed.
        assert_ended_once(amqp, waiting, "canceled", 1)
        shown.seen(begun, "REVOKED")
    assert amqp.run()["attempts"] == 1
    amqp.stop([painter])
