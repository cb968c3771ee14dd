"""The courier's rounds: lost tickets are replaced, no more; due webhooks are handed out."""

from collections import Counter

from lorajobs.catalog import Catalog
from lorajobs.courier import Courier
from lorajobs.jobs import Lease
from lorajobs.testing import ManualClock, MemoryJobStore
from tests.jobs import a_job


class Broker:
    """Tickets as a broker counts them."""

    def __init__(self) -> None:
        self.queues: Counter[str] = Counter()

    def publish(self, queue: str, count: int = 1) -> None:
        self.queues[queue] += count

    def depth(self, queue: str) -> int:
        return self.queues[queue]


def a_courier(store: MemoryJobStore) -> tuple[Courier, Broker]:
    broker = Broker()
    return Courier(store, broker, Catalog.load(None), hand_out=lambda: None), broker


def test_a_ticket_that_is_missing_twice_is_minted_once() -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store)
    for _ in range(3):
        store.submit(a_job(), None)
    courier.round()
    assert broker.queues["base.demo"] == 0
    courier.round()
    assert broker.queues["base.demo"] == 3
    courier.round()
    courier.round()
    assert broker.queues["base.demo"] == 3


def test_a_ticket_between_broker_and_claim_is_not_missed() -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store)
    job = a_job()
    store.submit(job, None)
    courier.round()
    store.claim("demo", job.id, "w", "t")
    courier.round()
    store.submit(a_job(), None)
    courier.round()
    assert broker.queues["base.demo"] == 0


def test_a_rescued_job_gets_its_ticket_at_once() -> None:
    clock = ManualClock()
    store = MemoryJobStore(clock_ms=clock)
    courier, broker = a_courier(store)
    job = a_job()
    store.submit(job, None)
    assert store.claim("demo", job.id, "w", "t") == Lease(job.id, 1)
    clock.advance(10)
    courier.round()
    assert broker.queues["base.demo"] == 1


def test_a_model_that_is_no_longer_configured_is_left_alone() -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store)
    store.submit(a_job(model="gone"), None)
    courier.round()
    courier.round()
    assert not broker.queues
