"""What every job store tells of jobs and workers, on memory and on a real Valkey."""

import pytest

from lorajobs.errors import JobNotFound, StoreUnavailable
from lorajobs.job_page import JobFilter
from lorajobs.jobs import AppliedLora, JobStatus
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.store import WorkerState
from tests.backends import Backend, Store
from tests.jobs import a_job, use


def test_unknown_jobs(store: Store) -> None:
    for verb in (store.get, store.cancel, store.delete):
        with pytest.raises(JobNotFound):
            verb("no-such-job")


def test_pages_are_newest_first_and_complete(store: Store) -> None:
    jobs = [a_job(loras=(use("soft3d"),) if i % 3 == 0 else ()) for i in range(7)]
    for job in jobs:
        store.submit(job, None)
    seen: list[str] = []
    cursor = None
    while True:
        page = store.page(JobFilter(), 3, cursor)
        assert len(page.jobs) <= 3
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(job.id for job in jobs)
    times = [store.get(i).created_ms for i in seen]
    assert times == sorted(times, reverse=True)
    only = store.page(JobFilter(lora="soft3d", model="demo", status=JobStatus.QUEUED), 10, None)
    assert {job.id for job in only.jobs} == {jobs[0].id, jobs[3].id, jobs[6].id}
    assert store.page(JobFilter(status=JobStatus.FAILED), 10, None).jobs == []
    assert store.page(JobFilter(model="other"), 10, None).jobs == []


def test_workers_are_listed_while_they_live(backend: Backend) -> None:
    store = backend.store
    loaded = [AppliedLora(id="pixel", revision="r", sha256="s", scale=0.5)]
    worker = WorkerState("w2", "demo", "warm", loaded, "job", placement="gpu")
    store.put_worker(worker, 60)
    store.put_worker(WorkerState("w1", "demo", "loading", [], None), 60)
    assert [w.name for w in store.workers()] == ["w1", "w2"]
    assert store.workers()[1] == worker
    store.remove_worker("w1")
    store.remove_worker("never-there")
    assert [w.name for w in store.workers()] == ["w2"]


def test_a_dead_server_is_a_store_error() -> None:
    store = RedisJobStore(connect("redis://127.0.0.1:1/0"))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.submit(a_job(), None)
    with pytest.raises(StoreUnavailable):
        store.get("x")
