"""What is counted, on memory and on a real Valkey."""

from collections.abc import Iterator

import pytest

from lorajobs.errors import OutOfMemory, StoreUnavailable
from lorajobs.jobs import Job, JobStatus, Metrics, Outcome
from lorajobs.outbox import DeliveryStatus, Verdict
from lorajobs.redis_client import connect
from lorajobs.redis_tally import RedisTally
from lorajobs.spec import Webhook
from lorajobs.tally import OVERDUE_S, TallyKeeper, Totals
from lorajobs.testing import MemoryTally
from tests.backends import Backend, MemoryBackend, RedisBackend
from tests.jobs import a_job, an_output

DONE = Outcome(status=JobStatus.SUCCEEDED)
HOOK = Webhook(url="https://receiver.example/hook")


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> Iterator[tuple[Backend, TallyKeeper]]:
    if request.param == "memory":
        memory = MemoryBackend()
        yield memory, MemoryTally(memory.memory)
        return
    backend = RedisBackend(request.getfixturevalue("valkey_url"))
    yield backend, RedisTally(backend.client, backend.prefix)
    backend.close()


def test_nothing_is_counted_before_the_first_job(kept: tuple[Backend, TallyKeeper]) -> None:
    assert kept[1].tally() == ({}, 0, 0, 0, 0, {})


def test_jobs_are_counted_by_base_and_where_they_are(kept: tuple[Backend, TallyKeeper]) -> None:
    backend, keeper = kept
    store = backend.store
    jobs = [a_job() for _ in range(4)] + [a_job(model="other")]
    for job in jobs:
        store.submit(job, None)
    done, retried, running = [
        store.claim("demo", job.id, f"w{n}", f"t{n}") for n, job in enumerate(jobs[:3])
    ]
    assert done and retried and running  # noqa: PT018
    store.finish(done.lease, DONE)
    store.requeue(retried.lease, OutOfMemory("full").as_job_error(), delay_s=30)
    tally = keeper.tally()
    counts = {model: (count.waiting, count.running) for model, count in tally.bases.items()}
    assert counts == {"demo": (1, 1), "other": (1, 0)}
    assert tally.delayed == 1
    backend.make_due()
    store.rescue()
    tally = keeper.tally()
    assert (tally.bases["demo"].waiting, tally.bases["demo"].running, tally.delayed) == (3, 0, 0)


def test_rates_are_of_the_last_minutes(kept: tuple[Backend, TallyKeeper]) -> None:
    backend, keeper = kept
    jobs = [a_job() for _ in range(50)]
    for job in jobs:
        backend.store.submit(job, None)
    for job in jobs[:20]:
        backend.store.cancel(job.id)
    count = keeper.tally().bases["demo"]
    # Over four to five minutes.
    assert 10 <= count.submitted_per_min <= 12.5
    assert 4 <= count.ended_per_min <= 5


def test_the_oldest_is_the_head_of_its_queue(kept: tuple[Backend, TallyKeeper]) -> None:
    backend, keeper = kept
    first, second = a_job(), a_job(priority="high")
    backend.store.submit(first, None)
    backend.store.submit(second, None)
    oldest_s = keeper.tally().bases["demo"].oldest_s
    assert oldest_s is not None
    assert 0 <= oldest_s < 60
    for job in (first, second):
        backend.store.claim("demo", job.id, job.id, "t")
    assert keeper.tally().bases["demo"].oldest_s is None


def test_webhooks_are_counted_until_they_are_settled(kept: tuple[Backend, TallyKeeper]) -> None:
    backend, keeper = kept
    store = backend.store
    for _ in range(3):
        job = a_job(webhook=HOOK)
        store.submit(job, None)
        store.cancel(job.id)
    assert keeper.tally()[2:5] == (3, 3, 0)
    (held,) = store.due_deliveries(1, hold_s=600)
    assert keeper.tally()[2:5] == (3, 2, 0)
    backend.advance(OVERDUE_S + 1)
    assert keeper.tally()[2:5] == (3, 2, 2)
    store.settle(held, Verdict("204", DeliveryStatus.DELIVERED))
    for delivery in store.due_deliveries(9, hold_s=600):
        store.settle(delivery, Verdict("500", DeliveryStatus.PENDING, 600))
    assert keeper.tally()[2:5] == (2, 0, 0)


def test_what_there_was_stays_when_jobs_are_erased(kept: tuple[Backend, TallyKeeper]) -> None:
    backend, keeper = kept
    store = backend.store
    done, failed, canceled, lost = [a_job() for _ in range(4)]
    for job in (done, failed, canceled, lost):
        store.submit(job, None)
    error = OutOfMemory("full").as_job_error()
    metrics = Metrics(swap_s=0.5, generate_s=1.0)
    outputs = (an_output(), an_output(index=1))
    outcome = Outcome(status=JobStatus.SUCCEEDED, metrics=metrics, outputs=outputs)
    store.finish(claimed(backend, done).lease, outcome)
    store.finish(claimed(backend, failed).lease, Outcome(status=JobStatus.FAILED, error=error))
    store.cancel(canceled.id)
    claimed(backend, lost)
    backend.expire_leases()
    store.rescue()
    for job in (done, failed, canceled):
        store.delete(job.id)
    ended = {("succeeded", ""): 1, ("failed", error.code): 1, ("canceled", ""): 1}
    assert keeper.tally().totals == {"demo": Totals(ended, 2, 1.5, 1)}


def claimed(backend: Backend, job: Job) -> Job:
    found = backend.store.claim("demo", job.id, "worker", job.id)
    assert found
    return found


def test_a_redis_that_is_away_is_said_to_be() -> None:
    with pytest.raises(StoreUnavailable):
        RedisTally(connect("redis://127.0.0.1:1")).tally()
