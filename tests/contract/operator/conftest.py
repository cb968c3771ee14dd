"""An operator's commands on a real server, in a database that no other test uses."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lorajobs.celery import make_app
from lorajobs.cli import main
from lorajobs.jobs import Job
from lorajobs.plan import Plan
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore, open_job_store
from lorajobs.settings import Settings
from lorajobs.submit import submit
from lorajobs.tickets import TicketQueue
from tests.jobs import a_spec

Run = Callable[..., Result]


@pytest.fixture
def settings(valkey_url: str) -> Iterator[Settings]:
    """A database that no other test uses."""
    made = Settings(redis_url=f"{valkey_url.removesuffix('/0')}/5")
    with closing(connect(made.redis_url)) as client:
        client.flushdb()
        yield made
        client.flushdb()


@pytest.fixture
def store(settings: Settings) -> RedisJobStore:
    return open_job_store(settings)


@pytest.fixture
def add(settings: Settings, store: RedisJobStore) -> Iterator[Callable[..., Job]]:
    app = make_app(settings)
    tickets = TicketQueue(app, settings)

    def add(**fields: Any) -> Job:
        spec = a_spec(**fields)
        job, _ = submit(Plan(spec, (), f"base.{spec.model}", 0), store, tickets)
        return job

    yield add
    app.close()


@pytest.fixture
def run(settings: Settings) -> Run:
    def run(*words: str, **options: Any) -> Result:
        environment = {"LORAJOBS_REDIS_URL": settings.redis_url, "COLUMNS": "200"}
        return CliRunner().invoke(main, words, env=environment, **options)

    return run
