"""What every outbox of webhooks must do, on memory and on a real Valkey."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lorajobs.jobs import Job, JobError, JobStatus, Lease, Outcome, Stage
from lorajobs.outbox import LOGGED, Delivery, DeliveryNotFound, DeliveryStatus, Verdict
from lorajobs.spec import ENDS, Webhook
from lorajobs.store import Progress
from tests.backends import Backend, MemoryBackend, RedisBackend, Store
from tests.jobs import a_job, lease_of

DONE = Outcome(status=JobStatus.SUCCEEDED)
HOOK = Webhook(url="https://Receiver.example:8443/hook")
DELIVERED = Verdict("204", DeliveryStatus.DELIVERED)
AGAIN = Verdict("500", DeliveryStatus.PENDING, 60)
AT_ONCE = Verdict("500", DeliveryStatus.PENDING)
STEP = Progress(Stage.DENOISING, 1, 4)


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made: Backend = (
        MemoryBackend()
        if request.param == "memory"
        else RedisBackend(request.getfixturevalue("valkey_url"))
    )
    with closing(made) as opened:
        yield opened


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


def claimed(store: Store, job: Job) -> Lease:
    store.submit(job, None)
    lease = lease_of(store.claim("demo", job.id, f"w-{job.id}", f"t-{job.id}"))
    assert lease is not None
    return lease


def ended(store: Store, url: str = HOOK.url) -> Job:
    job = a_job(webhook=Webhook(url=url))
    store.finish(claimed(store, job), DONE)
    return job


def test_a_delivery_is_leased_then_settled(backend: Backend) -> None:
    store = backend.store
    job = ended(store)
    (delivery,) = store.due_deliveries(10, 30)
    assert delivery == (f"{job.id}.succeeded", job.id, HOOK.url, "job.succeeded", 1)
    assert delivery.host == "receiver.example:8443"
    assert store.due_deliveries(10, 30) == []
    store.settle(delivery, AGAIN)
    assert store.due_deliveries(10, 30) == []
    backend.make_due()
    (again,) = store.due_deliveries(10, 30)
    assert (again.id, again.tries) == (delivery.id, 2)
    store.settle(again, DELIVERED)
    backend.make_due()
    assert store.due_deliveries(10, 30) == []
    # A late try of a settled delivery does not revive it.
    store.settle(delivery, AT_ONCE)
    assert store.due_deliveries(10, 30) == []


def test_a_late_failure_does_not_disturb_who_tries_meanwhile(backend: Backend) -> None:
    store = backend.store
    ended(store)
    (late,) = store.due_deliveries(10, 30)
    backend.advance(31)
    (now,) = store.due_deliveries(10, 30)
    store.settle(late, AT_ONCE)
    assert store.due_deliveries(10, 30) == []
    assert not store.hold(late, 30)
    assert store.hold(now, 30)


def test_who_holds_a_delivery_may_hold_it_longer(backend: Backend) -> None:
    store = backend.store
    ended(store)
    (delivery,) = store.due_deliveries(10, 30)
    backend.advance(20)
    assert store.hold(delivery, 30)
    backend.advance(20)
    assert store.due_deliveries(10, 30) == []
    store.settle(delivery, DELIVERED)
    assert not store.hold(delivery, 30)


def test_no_webhook_no_delivery(store: Store) -> None:
    job = a_job()
    store.finish(claimed(store, job), DONE)
    assert store.due_deliveries(10, 30) == []
    assert store.deliveries(job.id) == []


def test_a_host_is_sent_so_many_at_a_time_and_hides_no_other(backend: Backend) -> None:
    store = backend.store
    for _ in range(5):
        ended(store, "https://dead.example/")
    assert len(store.due_deliveries(10, 30, per_host=2)) == 2
    alive = ended(store, "https://alive.example/")
    assert [d.job_id for d in store.due_deliveries(10, 30, per_host=2)] == [alive.id]
    assert store.due_deliveries(10, 30, per_host=2) == []
    # Its couriers died: their time is over, and others have a go.
    backend.advance(31)
    hosts = [d.host for d in store.due_deliveries(10, 30, per_host=2)]
    assert sorted(hosts) == ["alive.example", "dead.example", "dead.example"]


def test_a_settled_one_makes_room_for_its_host_s_next(backend: Backend) -> None:
    store = backend.store
    for _ in range(3):
        ended(store)
    first, second = store.due_deliveries(10, 30, per_host=2)
    store.settle(first, DELIVERED)
    (third,) = store.due_deliveries(10, 30, per_host=2)
    store.settle(second, AGAIN)
    store.settle(third, DELIVERED)
    assert store.due_deliveries(10, 30, per_host=2) == []
    backend.advance(61)
    assert [d.id for d in store.due_deliveries(10, 30, per_host=2)] == [second.id]


def test_more_busy_hosts_than_one_look_takes_hide_no_other(store: Store) -> None:
    for number in range(300):
        ended(store, f"https://dead{number}.example/")
        ended(store, f"https://dead{number}.example/")
    while store.due_deliveries(100, 300, per_host=1):
        pass
    alive = ended(store)
    rounds = [d.job_id for _ in range(3) for d in store.due_deliveries(100, 300, per_host=1)]
    assert rounds == [alive.id]


@pytest.mark.parametrize("event", ENDS)
def test_an_end_that_was_not_asked_for_is_not_told(backend: Backend, event: str) -> None:
    store = backend.store
    others = tuple(end for end in ENDS if end != event)
    job = a_job(webhook=Webhook(url=HOOK.url, events=others), start_deadline_s=60)
    store.submit(job, None)
    if event == "canceled":
        store.cancel(job.id)
    elif event == "failed":
        store.refuse(job.id, JobError(code="c", title="t", detail="d", retryable=False))
    elif event == "succeeded":
        lease = lease_of(store.claim("demo", job.id, "w", "t"))
        assert lease is not None
        store.finish(lease, DONE)
    else:
        backend.advance(61)
        store.rescue()
    assert store.get(job.id).status == event
    assert store.deliveries(job.id) == []


def test_the_start_is_told_once_to_who_asks(backend: Backend) -> None:
    store = backend.store
    job = a_job(webhook=Webhook(url=HOOK.url, events=("started", "succeeded")))
    lease = claimed(store, job)
    (started,) = store.due_deliveries(10, 30)
    assert (started.event, started.is_best_effort) == ("job.started", True)
    error = JobError(code="c", title="t", detail="d", retryable=True)
    store.requeue(lease, error)
    again = lease_of(store.claim("demo", job.id, "w2", "t2"))
    assert again is not None
    store.finish(again, DONE)
    assert [d.event for d in store.due_deliveries(10, 30)] == ["job.succeeded"]


def test_progress_is_told_one_at_a_time_and_leaves_no_log(store: Store) -> None:
    job = a_job(webhook=Webhook(url=HOOK.url, events=("progress",)))
    lease = claimed(store, job)
    store.renew(lease)
    assert store.due_deliveries(10, 30) == []
    # Told at once, and the next ones not before this is settled and half a second is over.
    for _ in range(5):
        store.renew(lease, STEP)
    (told,) = store.due_deliveries(10, 30)
    assert told == (f"{job.id}.progress.1", job.id, HOOK.url, "job.progress", 1)
    store.settle(told, DELIVERED)
    assert store.deliveries(job.id) == []


def test_progress_is_told_twice_a_second_at_most(store: Store) -> None:
    job = a_job(webhook=Webhook(url=HOOK.url, events=("progress",)))
    lease = claimed(store, job)
    begun, count = time.monotonic(), 0
    for _ in range(30):
        store.renew(lease, STEP)
        for told in store.due_deliveries(10, 30):
            count += 1
            store.settle(told, DELIVERED)
    assert 1 <= count <= 1 + (time.monotonic() - begun) / 0.5


def test_each_progress_has_an_id_of_its_own() -> None:
    backend = MemoryBackend()
    store = backend.store
    job = a_job(webhook=Webhook(url=HOOK.url, events=("progress",)))
    lease = claimed(store, job)
    ids = []
    for _ in range(20):
        store.renew(lease, STEP)
        for told in store.due_deliveries(10, 30):
            ids.append(told.id)
            store.settle(told, DELIVERED)
        backend.advance(0.1)
    # Two seconds, two a second.
    assert ids == [f"{job.id}.progress.{number}" for number in (1, 2, 3, 4)]


def test_the_log_tells_of_every_try(backend: Backend) -> None:
    store = backend.store
    job = ended(store)
    (pending,) = store.deliveries(job.id)
    assert (pending.status, pending.log, pending.delivery.tries) == ("pending", [], 0)
    assert pending.next_try_ms is not None
    for result in ("500", "ConnectError: refused"):
        (delivery,) = store.due_deliveries(10, 30)
        store.settle(delivery, Verdict(result, DeliveryStatus.PENDING))
    (delivery,) = store.due_deliveries(10, 30)
    store.settle(delivery, Verdict("404", DeliveryStatus.FAILED))
    (failed,) = store.deliveries(job.id)
    assert (failed.status, failed.next_try_ms, failed.delivery.tries) == ("failed", None, 3)
    assert [t.result for t in failed.log] == ["500", "ConnectError: refused", "404"]
    moments = [t.at_ms for t in failed.log]
    assert moments == sorted(moments)


def test_the_log_has_an_end(store: Store) -> None:
    job = ended(store)
    for number in range(LOGGED + 5):
        (delivery,) = store.due_deliveries(10, 30)
        store.settle(delivery, Verdict(str(number), DeliveryStatus.PENDING))
    (record,) = store.deliveries(job.id)
    assert [t.result for t in record.log] == [str(number) for number in range(5, LOGGED + 5)]


@pytest.mark.parametrize("status", [DeliveryStatus.DELIVERED, DeliveryStatus.FAILED])
def test_a_settled_one_can_be_sent_again(store: Store, status: DeliveryStatus) -> None:
    job = ended(store)
    (delivery,) = store.due_deliveries(10, 30)
    store.settle(delivery, Verdict("x", status))
    record = store.redeliver(job.id, delivery.id)
    assert (record.status, record.delivery.tries) == ("pending", 0)
    (again,) = store.due_deliveries(10, 30)
    assert again == delivery
    store.settle(again, DELIVERED)
    (record,) = store.deliveries(job.id)
    assert [t.result for t in record.log] == ["x", "204"]


def test_one_that_waits_for_its_next_try_can_be_sent_at_once(store: Store) -> None:
    job = ended(store)
    (delivery,) = store.due_deliveries(10, 30)
    store.settle(delivery, AGAIN)
    store.redeliver(job.id, delivery.id)
    assert len(store.due_deliveries(10, 30)) == 1


def test_another_job_s_delivery_is_not_sent(store: Store) -> None:
    ended(store)
    other = a_job()
    store.submit(other, None)
    (delivery,) = store.due_deliveries(10, 30)
    for job_id, name in ((other.id, delivery.id), (delivery.job_id, "x"), ("x", delivery.id)):
        with pytest.raises(DeliveryNotFound, match="no delivery"):
            store.redeliver(job_id, name)


def test_a_deleted_job_leaves_no_delivery(backend: Backend) -> None:
    store = backend.store
    job = ended(store)
    (delivery,) = store.due_deliveries(10, 30)
    store.settle(delivery, AGAIN)
    store.delete(job.id)
    assert store.deliveries(job.id) == []
    backend.make_due()
    assert store.due_deliveries(10, 30) == []
    assert not store.hold(delivery, 30)
    store.settle(delivery, AT_ONCE)
    assert backend.outbox() == set()


def test_a_delivery_names_its_receiver() -> None:
    delivery = Delivery("d", "j", "http://[::1]:80/x?y=https://other/", "job.failed", 1)
    assert delivery.host == "[::1]:80"
    assert not delivery.is_best_effort
