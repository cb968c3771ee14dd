"""What we use of Celery's and kombu's insides, so that an upgrade that moves them fails here."""

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import Terminated, WorkerLostError
from celery import Celery
from celery.apps import worker
from celery.concurrency.prefork import TaskPool
from celery.worker import state, strategy
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from celery.worker.request import Request, create_request_cls
from kombu import Queue
from kombu.asynchronous import Hub
from kombu.exceptions import OperationalError
from kombu.message import Message

from lorajobs.celery import RECONNECT_S, make_app
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_client import connect
from lorajobs.settings import Settings
from lorajobs.tickets import TASK, TicketQueue
from tests.services.valkey import valkey


@pytest.fixture
def settings(valkey_url: str) -> Settings:
    return Settings(redis_url=valkey_url)


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    app = make_app(settings)
    yield app
    app.close()


def shape(value: object) -> object:
    """The structure of a message: keys and types, no values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value).__name__


def test_our_envelope_is_what_kombu_puts_on_the_list(app: Celery, settings: Settings) -> None:
    client = connect(settings.redis_url)
    queue = TicketQueue(app, settings)
    queue.publish("base.demo")
    ours = queue.envelope("base.demo")
    assert ours is not None
    raw = client.rpop("base.demo")
    theirs: dict[str, Any] = json.loads(str(raw))
    mine: dict[str, Any] = json.loads(ours["message"])
    assert mine.keys() == theirs.keys()
    assert mine["body"] == theirs["body"]
    # kombu adds reply_to and Celery more headers, all optional for a consumer.
    assert (
        mine["properties"].items()
        <= (
            theirs["properties"]
            | {k: mine["properties"][k] for k in ("correlation_id", "delivery_tag")}
        ).items()
    )
    for name in mine["headers"]:
        assert shape(mine["headers"][name]) == shape(theirs["headers"][name])
    assert theirs["headers"]["task"] == TASK
    client.close()


def test_depth_counts_both_kinds_of_tickets(app: Celery, settings: Settings) -> None:
    client = connect(settings.redis_url)
    queue = TicketQueue(app, settings)
    assert queue.depth("base.counted") == 0
    queue.publish("base.counted", 2)
    ticket = queue.envelope("base.counted")
    assert ticket is not None
    client.lpush(ticket["queue"], ticket["message"])
    assert queue.depth("base.counted") == 3
    client.delete("base.counted")
    client.close()


def test_no_envelope_for_a_broker_of_its_own(settings: Settings) -> None:
    apart = settings.model_copy(update={"broker_url": "amqp://127.0.0.1:1//"})
    assert TicketQueue(make_app(apart), apart).envelope("base.demo") is None


def test_a_strategy_takes_a_message_and_its_callbacks() -> None:
    assert list(inspect.signature(strategy.default).parameters)[:3] == ["task", "app", "consumer"]
    assert "task_message_handler(message, body, ack, reject, callbacks" in inspect.getsource(
        strategy.default
    )
    assert list(inspect.signature(create_request_cls).parameters)[:5] == [
        "base",
        "task",
        "pool",
        "hostname",
        "eventer",
    ]


@pytest.mark.parametrize(
    ("hook", "parameters"),
    [
        ("on_failure", ["self", "exc_info", "send_failed_event", "return_ok"]),
        ("on_retry", ["self", "exc_info"]),
        ("on_timeout", ["self", "soft", "timeout"]),
        ("terminate", ["self", "pool", "signal"]),
        ("_announce_cancelled", ["self", "emit_retry"]),
        ("_announce_revoked", ["self", "reason", "terminated", "signum", "expired"]),
        ("send_event", ["self", "type", "fields"]),
    ],
)
def test_request_hooks(hook: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(Request, hook)).parameters) == parameters


def test_a_consumer_leaves_and_joins_a_queue_and_a_message_goes_back() -> None:
    for method in (Consumer.cancel_task_queue, Consumer.add_task_queue):
        assert list(inspect.signature(method).parameters)[:2] == ["self", "queue"]
    # Else a queue that was left would be joined again at a reconnect, or the other way round.
    assert "deselect(queue)" in inspect.getsource(Consumer.cancel_task_queue)
    assert "select_add(" in inspect.getsource(Consumer.add_task_queue)
    reject = inspect.signature(Message.reject_log_error)
    assert list(reject.parameters) == ["self", "logger", "errors", "requeue"]


def test_a_request_settles_its_ticket_through_what_it_was_given() -> None:
    # The methods of `Settlement`, in place of those that only log a failure.
    ack, reject = inspect.getsource(Request.acknowledge), inspect.getsource(Request.reject)
    assert "self._on_ack(logger, self._connection_errors)" in ack
    assert "self._on_reject(logger, self._connection_errors, requeue)" in reject


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_each_broker_is_read_by_an_event_loop(broker: str) -> None:
    # Only out of one does a failure to settle end the connection, whatever the pool.
    app = make_app(Settings(redis_url="redis://127.0.0.1:1/0", broker_url=broker))
    assert app.connection_for_read().transport.implements.asynchronous
    assert "for item in todo:" in inspect.getsource(Hub.create_loop)


def test_a_shutdown_is_told_and_each_settles_what_it_holds_before_the_end() -> None:
    assert "signals.worker_shutting_down.send(" in inspect.getsource(worker)
    # After the pool was joined and before the connection closes.
    assert "for item in todos:" in inspect.getsource(Hub._close)


def test_a_broker_that_is_away_is_looked_for_at_a_steady_pace() -> None:
    pauses: list[float] = []
    dead = make_app(Settings(redis_url="redis://127.0.0.1:1/0")).connection_for_read()
    with pytest.raises(OperationalError):
        # As Celery's consumer calls it.
        dead.ensure_connection(lambda error, pause: pauses.append(pause), 2, callback=None)
    assert pauses == [RECONNECT_S, RECONNECT_S]


def test_a_connection_closes_twice_although_its_broker_died_while_it_polled(tmp_path: Path) -> None:
    with valkey(tmp_path) as server:
        app = make_app(Settings(redis_url=server.url))
        connection = app.connection_for_read()
        connection.Consumer(Queue("q"), on_message=lambda message: None).consume()
        # Celery's remote control has a channel of its own.
        connection.Consumer(Queue("other"), connection.channel()).consume()
        connection.SimpleQueue("q").put("never settled")
        connection.drain_events(timeout=5)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)
    connection.collect(socket_timeout=1)
    connection.close()
    app.close()


def test_the_rest_of_what_we_touch() -> None:
    assert isinstance(state.reserved_requests, object)
    assert hasattr(state, "active_requests")
    assert hasattr(state, "should_stop")
    assert "processes" in inspect.getsource(TaskPool._get_info)
    assert callable(Panel.register)
    assert issubclass(WorkerLostError, Exception)
    assert issubclass(Terminated, Exception)


def test_a_dead_broker_is_a_store_error() -> None:
    dead = Settings(redis_url="redis://127.0.0.1:1/0")
    queue = TicketQueue(make_app(dead), dead)
    with pytest.raises(StoreUnavailable, match="the broker does not answer"):
        queue.publish("base.demo")
    with pytest.raises(StoreUnavailable, match="the broker does not answer"):
        queue.depth("base.demo")


def test_celery_s_advice_on_a_lost_connection_is_not_printed() -> None:
    code = (
        "import warnings\n"
        "from celery.worker.consumer import consumer\n"
        "from lorajobs.celery import app\n"
        "worker = app.Worker(pool='solo', hostname='w@h', quiet=True, loglevel='WARNING')\n"
        # What it does before it connects; then, what it does when it has lost the connection.
        "worker.on_start()\n"
        "warnings.warn(consumer.CANCEL_TASKS_BY_DEFAULT, consumer.CPendingDeprecationWarning)\n"
        "warnings.warn('another', consumer.CPendingDeprecationWarning)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "another" in ended.stderr
    assert "In Celery 5.1" not in ended.stderr
