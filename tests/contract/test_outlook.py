"""The place that a job would have, in memory and on a real Valkey: that which it then gets."""

from collections.abc import Iterator
from contextlib import closing
from itertools import product

import pytest

from lorajobs.errors import JobNotFound, QueueFull
from lorajobs.job_page import JobFilter
from tests.backends import RULES, Backend, MemoryBackend, RedisBackend
from tests.jobs import a_job, use

SMALL = RULES._replace(max_waiting=2, max_waiting_per_key=1)
WINDOW_US = 10_000_000


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    rules = SMALL if request.node.get_closest_marker("rules") else RULES
    if request.param == "memory":
        yield MemoryBackend(rules)
        return
    with closing(RedisBackend(request.getfixturevalue("valkey_url"), rules)) as opened:
        yield opened


def test_the_outlook_is_the_place_that_a_submit_gives(backend: Backend) -> None:
    store = backend.store
    for owner, priority, lora in product(("ann", "bob", ""), ("low", "normal", "high"), range(2)):
        job = a_job(owner=owner, priority=priority, loras=(use(),) * lora)
        backend.tick()
        expected = store.outlook(job, WINDOW_US)
        assert store.submit(job, None, window_us=WINDOW_US).place == expected
        if lora:
            first = store.page(JobFilter(), 100, None).jobs[-1]
            store.claim("demo", first.id, "w", f"ticket of {job.id}")


def test_the_outlook_leaves_nothing_behind(backend: Backend) -> None:
    store = backend.store
    waiting = [a_job(owner=owner, loras=(use(),)) for owner in ("ann", "bob", "ann")]
    for job in waiting:
        store.submit(job, None)
    before = _kept(backend)
    asked = [a_job(owner=o, loras=(use(name),)) for o in ("ann", "new") for name in ("pixel", "x")]
    for job in asked:
        assert store.outlook(job, WINDOW_US).position <= len(waiting)
        with pytest.raises(JobNotFound):
            store.get(job.id)
    assert _kept(backend) == before


def _kept(backend: Backend) -> object:
    if isinstance(backend, RedisBackend):
        return {key: backend.client.dump(key) for key in backend.client.keys(f"{backend.prefix}*")}
    store = backend.store
    return store.snapshot("demo"), store.page(JobFilter(), 100, None), store.backlog()


@pytest.mark.rules
def test_a_full_queue_has_no_outlook(backend: Backend) -> None:
    store = backend.store
    store.submit(a_job(owner="ann"), None)
    with pytest.raises(QueueFull, match="of this API key"):
        store.outlook(a_job(owner="ann"), 0)
    store.submit(a_job(owner="bob"), None)
    with pytest.raises(QueueFull):
        store.outlook(a_job(owner="new"), 0)
