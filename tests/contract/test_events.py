"""What every log of events must do, in memory and on a real Valkey, and what listeners hear."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from lorajobs.errors import JobNotFound, StoreUnavailable, WorkerLost
from lorajobs.events import Event, Pace, end_of, ended, follow, has_all
from lorajobs.jobs import Job, JobStatus, Lease, Outcome, Stage
from lorajobs.redis_events import LONGEST_BLOCK_S, RedisEvents, open_events
from lorajobs.settings import Settings
from lorajobs.store import Progress
from tests.backends import Backend, MemoryBackend, RedisBackend
from tests.jobs import a_job, lease_of

DIED = WorkerLost("died").as_job_error()
DONE = Outcome(status=JobStatus.SUCCEEDED)
#: Longer than any test; what waits so long has missed what it waited for.
LONG_S = 20.0
STAYS = Pace(LONG_S, lambda: False)


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    memory = request.param == "memory"
    with closing(
        MemoryBackend() if memory else RedisBackend(request.getfixturevalue("valkey_url"))
    ) as opened:
        yield opened


def claimed(backend: Backend, job: Job) -> Lease:
    backend.store.submit(job, None)
    lease = lease_of(backend.store.claim("demo", job.id, "w", f"ticket of {job.id}"))
    assert lease is not None
    return lease


def painted(backend: Backend, job: Job, steps: int = 3) -> Lease:
    """A job that is some steps far."""
    lease = claimed(backend, job)
    for step in range(1, steps + 1):
        backend.store.renew(lease, Progress(Stage.DENOISING, step, steps))
    return lease


def kinds(events: Sequence[Event | None]) -> list[str]:
    return [event.kind if event else "-" for event in events]


def test_all_that_happens_to_a_job_is_told_in_order(backend: Backend) -> None:
    job = a_job()
    backend.store.finish(painted(backend, job, 2), DONE)
    events = backend.events.events(job.id, "", 0)
    assert [(event.kind, event.fields) for event in events] == [
        ("queued", {}),
        ("running", {"attempt": 1}),
        ("progress", {"stage": "denoising", "step": 1, "steps": 2}),
        ("progress", {"stage": "denoising", "step": 2, "steps": 2}),
        ("succeeded", {}),
    ]
    assert [event.is_end for event in events] == [False] * 4 + [True]
    ids = [tuple(map(int, event.id.split("-"))) for event in events]
    assert ids == sorted(set(ids))
    told = backend.store.get(job.id)
    assert told.created_ms <= events[0].at_ms
    assert told.completed_ms is not None
    assert told.completed_ms <= events[-1].at_ms


def test_who_heard_up_to_any_event_is_told_the_rest(backend: Backend) -> None:
    job = a_job()
    backend.store.finish(painted(backend, job), DONE)
    events = backend.events.events(job.id, "", 0)
    for heard, event in enumerate(events, 1):
        assert backend.events.events(job.id, event.id, 0) == events[heard:]


def test_a_job_that_waits_again_is_told(backend: Backend) -> None:
    job = a_job()
    backend.store.requeue(claimed(backend, job), DIED)
    lease = lease_of(backend.store.claim("demo", job.id, "w", "another ticket"))
    assert lease
    backend.store.cancel(job.id)
    backend.store.requeue(lease, DIED)
    events = backend.events.events(job.id, "", 0)
    assert kinds(events) == ["queued", "running", "queued", "running", "canceled"]
    assert [e.fields["attempt"] for e in events if e.kind == "running"] == [1, 2]


@pytest.mark.parametrize("deadline_s", [1, None])
def test_an_end_without_a_worker_is_told(backend: Backend, deadline_s: int | None) -> None:
    job = a_job(start_deadline_s=deadline_s)
    backend.store.submit(job, None)
    if deadline_s:
        backend.make_due()
        backend.store.rescue()
    else:
        backend.store.refuse(job.id, DIED)
    last = backend.events.events(job.id, "", 0)[-1]
    assert (last.kind, last.is_end) == ("expired" if deadline_s else "failed", True)


def test_a_job_that_is_unknown_or_erased_has_no_events(backend: Backend) -> None:
    job = a_job()
    assert not backend.events.events(job.id, "", 0)
    backend.store.submit(job, None)
    backend.store.cancel(job.id)
    assert backend.events.events(job.id, "", 0)
    backend.store.delete(job.id)
    assert not backend.events.events(job.id, "", 0)


def test_a_read_waits_no_longer_than_it_was_told(backend: Backend) -> None:
    begun = time.monotonic()
    assert not backend.events.events("nobody", "", 0.05)
    assert time.monotonic() - begun >= 0.04


def test_every_reader_that_waits_is_woken(backend: Backend) -> None:
    job = a_job()
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(backend.events.events, job.id, "", LONG_S) for _ in range(3)]
        backend.store.submit(job, None)
        assert [kinds(reader.result(LONG_S)) for reader in readers] == [["queued"]] * 3


def test_a_listener_hears_all_up_to_the_end_while_it_happens(backend: Backend) -> None:
    job = a_job()
    backend.store.submit(job, None)
    with ThreadPoolExecutor(1) as pool:
        told = follow(backend.events, backend.store, job, "", STAYS)
        assert kinds([next(told)]) == ["queued"]
        heard = pool.submit(list, told)
        lease = lease_of(backend.store.claim("demo", job.id, "w", "ticket"))
        assert lease
        backend.store.renew(lease, Progress(Stage.DENOISING, 1, 4))
        backend.store.finish(lease, DONE)
        assert kinds(heard.result(LONG_S)) == ["running", "progress", "succeeded"]


def test_a_listener_is_told_the_end_of_a_job_whose_events_are_gone(backend: Backend) -> None:
    job = a_job()
    backend.store.finish(painted(backend, job), DONE)
    over = backend.store.get(job.id)
    heard = backend.events.events(job.id, "", 0)
    assert not has_all(backend.events, over, "")
    assert not has_all(backend.events, over, heard[-2].id)
    assert has_all(backend.events, over, heard[-1].id)
    backend.forget_events(job.id)
    (told,) = follow(backend.events, backend.store, over, "", STAYS)
    assert told == end_of(over)
    assert (told.kind, told.is_end) == ("succeeded", True)
    assert has_all(backend.events, over, told.id)
    assert has_all(backend.events, over, heard[-1].id)


def test_a_listener_gets_a_beat_while_nothing_happens_and_leaves_when_asked(
    backend: Backend,
) -> None:
    job = a_job()
    backend.store.submit(job, None)
    asked: list[bool] = []
    pace = Pace(0.01, lambda: bool(asked))
    told = follow(backend.events, backend.store, job, "", pace)
    assert kinds([next(told), next(told), next(told)]) == ["queued", "-", "-"]
    asked.append(True)
    assert not list(told)


def test_a_listener_of_a_job_that_is_erased_is_told_so(backend: Backend) -> None:
    job = a_job()
    backend.store.submit(job, None)
    told = follow(backend.events, backend.store, job, "", Pace(0.01, lambda: False))
    assert kinds([next(told)]) == ["queued"]
    backend.store.cancel(job.id)
    backend.store.delete(job.id)
    with pytest.raises(JobNotFound):
        list(told)


def test_who_waits_for_the_end_gets_the_ended_job(backend: Backend) -> None:
    job = a_job()
    lease = painted(backend, job)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(ended, backend.events, backend.store, job, LONG_S, STAYS)
        backend.store.finish(lease, DONE)
        assert waits.result(LONG_S) == backend.store.get(job.id)
    over = backend.store.get(job.id)
    assert over.status is JobStatus.SUCCEEDED
    assert ended(backend.events, backend.store, over, LONG_S, STAYS) is over


def test_who_waited_long_enough_gets_the_job_as_it_is(backend: Backend) -> None:
    job = a_job()
    backend.store.submit(job, None)
    painted_job = a_job()
    painted(backend, painted_job, 2)
    for waiting in (job, painted_job):
        now = ended(backend.events, backend.store, waiting, 0.02, STAYS)
        assert now == backend.store.get(waiting.id)
        assert not now.status.is_terminal


def test_who_waits_leaves_when_asked(backend: Backend) -> None:
    job = a_job()
    backend.store.submit(job, None)
    now = ended(backend.events, backend.store, job, LONG_S, Pace(LONG_S, lambda: True))
    assert now.status is JobStatus.QUEUED


def test_the_connection_bears_the_longest_wait() -> None:
    opened = open_events(Settings(api_listeners=3))
    client = opened._redis
    options = client.connection_pool.connection_kwargs
    assert options["socket_timeout"] > LONGEST_BLOCK_S
    assert client.connection_pool.max_connections == 3


def test_a_dead_server_is_a_store_error() -> None:
    dead = open_events(Settings(redis_url="redis://127.0.0.1:1/0"))
    assert isinstance(dead, RedisEvents)
    with pytest.raises(StoreUnavailable):
        dead.events("x", "", 0)
