"""What operators ask of the store, on memory and on a real Valkey."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lorajobs.errors import OutOfMemory, StoreUnavailable, WorkerLost
from lorajobs.jobs import Job, JobStatus, Lease, Metrics, Outcome, Stage
from lorajobs.outbox import DeliveryStatus, Verdict
from lorajobs.redis_client import connect
from lorajobs.redis_watch import RedisWatch
from lorajobs.spec import Webhook
from lorajobs.store import Progress, WorkerState
from lorajobs.testing import MemoryWatch
from lorajobs.timeline import timeline_of
from lorajobs.watch import LATEST, Watch
from tests.backends import Backend, MemoryBackend, RedisBackend, Store
from tests.jobs import a_job, use

FAILED = Outcome(status=JobStatus.FAILED, error=OutOfMemory("full").as_job_error())
TOOK = Metrics(fetch_s=0.03, swap_s=0.01, generate_s=1.0)
LOST = WorkerLost("gone").as_job_error()
HOOK = Webhook(url="https://receiver.example/hook")


class Kept(NamedTuple):
    """A store and who watches it."""

    backend: Backend
    store: Store
    watch: Watch

    def submit(self, **fields: object) -> Job:
        job = a_job(**fields)
        self.store.submit(job, None)
        return job

    def claim(self, job: Job, worker: str = "w1") -> Lease:
        claimed = self.store.claim("demo", job.id, worker, f"{worker} {job.id}")
        assert claimed
        return claimed.lease

    def marks(self, worker: str = "w1") -> list[tuple[str, str, str]]:
        return [mark[1:] for mark in self.watch.lately(9, 9).marks.get(worker, ())]


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    if request.param == "memory":
        memory = MemoryBackend()
        yield Kept(memory, memory.store, MemoryWatch(memory.memory))
        return
    backend = RedisBackend(request.getfixturevalue("valkey_url"))
    yield Kept(backend, backend.store, RedisWatch(backend.client, backend.prefix))
    backend.close()


def test_nothing_happened_yet(kept: Kept) -> None:
    now_ms, *rest = kept.watch.lately(9, 9)
    assert rest == [{}, [], [], [], []]
    assert isinstance(now_ms, int)
    assert list(kept.watch.line("demo", 0, 9)) == []
    assert list(kept.watch.queued("demo")) == []


def test_a_worker_leaves_a_mark_of_each_stage_and_of_the_end(kept: Kept) -> None:
    job = kept.submit(loras=(use("pixel", 0.8),))
    lease = kept.claim(job)
    stages = (*list(Stage)[1:3], *list(Stage)[2:])
    for step, stage in enumerate(stages):
        kept.store.renew(lease, Progress(stage, step, 4))
        # Only a renewal, by the parent: no new stage.
        kept.store.renew(lease)
    kept.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED, metrics=TOOK))
    # A replay after a lost reply is no second end.
    kept.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED, metrics=TOOK))
    assert kept.marks() == [
        ("claimed", job.id, f"demo {job.spec.group}"),
        ("denoising", job.id, ""),
        ("uploading", job.id, ""),
        ("succeeded", job.id, "0.03 0.01"),
    ]


def test_what_a_dead_worker_did_is_known_and_the_rescue_ends_it(kept: Kept) -> None:
    job = kept.submit()
    kept.store.renew(kept.claim(job), Progress(Stage.DENOISING, 1, 4))
    kept.backend.expire_leases()
    kept.store.rescue()
    assert [what for what, _, _ in kept.marks()] == ["claimed", "denoising", "queued"]
    second = kept.claim(job, "w2")
    kept.store.requeue(second, LOST, delay_s=30)
    assert [what for what, _, _ in kept.marks("w2")] == ["claimed", "queued"]
    # What waits is canceled by no worker.
    kept.store.cancel(job.id)
    assert len(kept.marks()) == 3
    seen = kept.watch.lately(9, 9)
    assert set(seen.marks) == {"w1", "w2"}
    times = [mark.at_ms for mark in seen.marks["w2"]]
    assert times == sorted(times)
    assert abs(times[-1] - seen.now_ms) < 60_000


def test_a_job_that_is_canceled_on_its_worker_ends_there(kept: Kept) -> None:
    job = kept.submit()
    lease = kept.claim(job)
    kept.store.cancel(job.id)
    kept.store.finish(lease, Outcome(status=JobStatus.CANCELED))
    assert kept.marks()[-1] == ("canceled", job.id, "0 0")


def test_a_worker_leaves_a_mark_when_it_becomes_something_else(kept: Kept) -> None:
    for state, model in (
        ("loading", "demo"),
        ("warm", "demo"),
        ("warm", "demo"),
        ("warm", "other"),
        ("draining", "other"),
    ):
        kept.store.put_worker(WorkerState("w1", model, state, (), None), 60)
    kept.store.remove_worker("w1")
    assert kept.marks() == [
        ("loading", "", "demo"),
        ("warm", "", "demo"),
        ("warm", "", "other"),
        ("draining", "", "other"),
        ("left", "", ""),
    ]


def test_only_the_workers_that_did_something_last_are_shown(kept: Kept) -> None:
    for name in ("w1", "w2", "w3"):
        kept.store.put_worker(WorkerState(name, "demo", "warm", (), None), 60)
        # Redis orders those of one millisecond by name.
        kept.backend.tick()
    assert set(kept.watch.lately(2, 9).marks) == {"w2", "w3"}


def test_the_latest_failures_come_first(kept: Kept) -> None:
    jobs = [kept.submit() for _ in range(4)]
    for job in jobs[:3]:
        kept.store.finish(kept.claim(job), FAILED)
        kept.backend.tick()
    refused = kept.submit()
    kept.store.refuse(refused.id, LOST)
    kept.store.cancel(jobs[3].id)
    expected = [refused.id, *(job.id for job in jobs[2::-1])]
    assert [job.id for job in kept.watch.lately(9, 9).failed] == expected
    assert [job.id for job in kept.watch.lately(9, 2).failed] == expected[:2]
    failed = kept.watch.lately(9, 9).failed[1]
    assert failed.error == FAILED.error
    kept.store.delete(jobs[1].id)
    assert [job.id for job in kept.watch.lately(9, 9).failed] == [
        name for name in expected if name != jobs[1].id
    ]


def test_the_line_is_in_the_order_of_its_positions_and_cut(kept: Kept) -> None:
    jobs = [kept.submit(owner=owner) for owner in ("anna", "anna", "ben", "anna")]
    other = kept.submit(model="other")
    line = kept.watch.line("demo", 0, 9)
    positions = [one.place.position for one in line]
    assert positions == sorted(positions)
    assert {one.job.id for one in line} == {job.id for job in jobs}
    for one in line:
        assert kept.store.place(one.job.id, 0) == one.place
    assert len(kept.watch.line("demo", 0, 2)) == 2
    assert [one.job.id for one in kept.watch.line("other", 0, 9)] == [other.id]


def test_delayed_jobs_are_told_apart_and_purged_with_the_others(kept: Kept) -> None:
    first, second, waiting = kept.submit(), kept.submit(), kept.submit()
    kept.store.requeue(kept.claim(first), LOST, delay_s=300)
    kept.store.requeue(kept.claim(second, "w2"), LOST, delay_s=30)
    seen = kept.watch.lately(9, 9)
    assert [job.id for job, _ in seen.delayed] == [second.id, first.id]
    assert 0 < seen.delayed[0][1] - seen.now_ms <= 30_000
    assert [one.job.id for one in kept.watch.line("demo", 0, 9)] == [waiting.id]
    assert set(kept.watch.queued("demo")) == {first.id, second.id, waiting.id}
    assert list(kept.watch.queued("other")) == []


def test_webhooks_that_failed_and_that_are_tried_again(kept: Kept) -> None:
    for _ in range(3):
        kept.store.cancel(kept.submit(webhook=HOOK).id)
    given_up, retried, new = kept.store.due_deliveries(3, hold_s=600)
    kept.store.settle(given_up, Verdict("410", DeliveryStatus.FAILED))
    kept.store.settle(retried, Verdict("500", DeliveryStatus.PENDING, 300))
    seen = kept.watch.lately(9, 9)
    assert [record.delivery.id for record in seen.undelivered] == [given_up.id]
    assert seen.undelivered[0].log[-1].result == "410"
    assert [record.delivery.id for record in seen.retried] == [retried.id]
    assert new.id not in {record.delivery.id for record in seen.retried}
    kept.store.redeliver(given_up.job_id, given_up.id)
    assert not kept.watch.lately(9, 9).undelivered
    for delivery in kept.store.due_deliveries(1, hold_s=600):
        kept.store.settle(delivery, Verdict("204", DeliveryStatus.DELIVERED))
    assert not kept.watch.lately(9, 9).undelivered


def test_on_a_server_it_is_capped_and_expires(valkey_url: str) -> None:
    backend = RedisBackend(valkey_url)
    try:
        watch, store, prefix = (
            RedisWatch(backend.client, backend.prefix),
            backend.store,
            backend.prefix,
        )
        for number in range(LATEST + 20):
            job = a_job()
            store.submit(job, None)
            claimed = store.claim("demo", job.id, "w1", str(number))
            assert claimed
            for stage in Stage:
                store.renew(claimed.lease, Progress(stage, 0, 4))
            store.finish(claimed.lease, FAILED)
        assert len(watch.lately(1, 1000).failed) == LATEST
        # Redis cuts whole nodes, of a hundred entries by default.
        marks = watch.lately(1, 1).marks["w1"]
        assert 240 <= len(marks) <= 340
        assert len(timeline_of(marks).runs) >= 240 // 6
        size = backend.client.memory_usage(f"{prefix}:timeline:w1")
        assert size < 30_000, size
        assert 3000 < backend.client.ttl(f"{prefix}:timeline:w1") <= 3600
        erased = watch.lately(1, 1).failed[0].id
        store.delete(erased)
        assert erased not in backend.client.lrange(f"{prefix}:failed", 0, -1)
        # The name goes when another worker becomes something, an hour later.
        long_ago = int(time.time() * 1000) - 3_700_000
        backend.client.zadd(f"{prefix}:timelines", {"w1": long_ago})
        store.put_worker(WorkerState("w2", "demo", "warm", (), None), 60)
        assert backend.client.zrange(f"{prefix}:timelines", 0, -1) == ["w2"]
    finally:
        backend.close()


def test_a_job_that_outlasts_what_is_remembered_leaves_nothing_that_stays(valkey_url: str) -> None:
    backend, job = RedisBackend(valkey_url), a_job()
    try:
        backend.store.submit(job, None)
        claimed = backend.store.claim("demo", job.id, "w1", "t")
        assert claimed
        backend.client.delete(f"{backend.prefix}:timeline:w1")
        backend.store.finish(claimed.lease, FAILED)
        assert not backend.client.exists(f"{backend.prefix}:timeline:w1")
    finally:
        backend.close()


def test_a_redis_that_is_away_is_said_to_be() -> None:
    away = RedisWatch(connect("redis://127.0.0.1:1"))
    for ask in (lambda: away.lately(1, 1), lambda: away.queued("demo")):
        with pytest.raises(StoreUnavailable):
            ask()
