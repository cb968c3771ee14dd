"""A pushed cancel on a real broker."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery

from lorajobs.cancel import COMMAND, CancelPush
from lorajobs.celery import make_app
from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Job, JobStatus
from lorajobs.settings import Settings
from tests.jobs import a_job
from tests.services.server import free_ports


@pytest.fixture
def app(valkey_url: str) -> Iterator[Celery]:
    app = make_app(Settings(redis_url=valkey_url))
    yield app
    app.close()


def running(worker: str) -> Job:
    return a_job().model_copy(update={"status": JobStatus.RUNNING, "worker": worker, "attempt": 2})


def test_the_worker_of_the_job_hears_it_and_no_other(app: Celery) -> None:
    heard: set[tuple[str, str, int]] = set()

    def handler(name: str) -> Any:
        return lambda _, job_id, attempt: heard.add((name, job_id, attempt))

    other, meant = running("w2@host"), running("w1@host")
    push = CancelPush(app)
    with app.connection_for_read() as first, app.connection_for_read() as second:
        listening = [
            app.control.mailbox.Node(
                name, handlers={COMMAND: handler(name)}, channel=connection.channel()
            ).listen()
            for name, connection in (("w1@host", first), ("w2@host", second))
        ]
        # A broadcast reaches who listens at that moment, and nodes listen from the first drain on.
        while len(heard) < len(listening):
            push(other)
            push(meant)
            for connection in (first, second):
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1)
    assert heard == {("w1@host", meant.id, 2), ("w2@host", other.id, 2)}


def test_a_job_without_a_worker_needs_no_push(app: Celery) -> None:
    CancelPush(make_app(Settings(redis_url="redis://127.0.0.1:1")))(a_job())


def test_a_broker_that_is_down_is_told_as_such() -> None:
    app = make_app(Settings(redis_url=f"redis://127.0.0.1:{free_ports(1)[0]}"))
    with pytest.raises(StoreUnavailable, match="the broker does not answer"):
        CancelPush(app)(running("w1@host"))
