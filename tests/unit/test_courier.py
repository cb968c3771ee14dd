"""The courier's rounds: lost tickets are replaced, no more; due webhooks are handed out."""

from collections import Counter
from pathlib import Path

import pytest

from lorajobs.catalog import Catalog
from lorajobs.courier import Courier
from lorajobs.errors import JobNotFound
from lorajobs.images import Images
from lorajobs.jobs import JobStatus, Lease, Outcome
from lorajobs.metrics import CourierMetrics
from lorajobs.settings import Settings
from lorajobs.storage.folder import FolderStore
from lorajobs.store import QueueRules
from lorajobs.testing import ManualClock, MemoryImages, MemoryJobStore
from tests.jobs import a_job, lease_of


class Broker:
    """Tickets as a broker counts them."""

    def __init__(self) -> None:
        self.queues: Counter[str] = Counter()

    def publish(self, queue: str, count: int = 1) -> None:
        self.queues[queue] += count

    def depth(self, queue: str) -> int:
        return self.queues[queue]


def a_courier(store: MemoryJobStore, folder: Path) -> tuple[Courier, Broker]:
    broker = Broker()
    objects = FolderStore(folder, "http://localhost", 60)
    metrics = CourierMetrics()
    catalog = Catalog.load(None)
    images = Images(Settings(), MemoryImages(store.clock_ms), objects)
    return Courier(
        store, broker, catalog, objects, images, lambda: None, metrics, lambda: None
    ), broker


def test_a_ticket_that_is_missing_twice_is_minted_once(tmp_path: Path) -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store, tmp_path)
    for _ in range(3):
        store.submit(a_job(), None)
    courier.round()
    assert broker.queues["base.demo"] == 0
    courier.round()
    assert broker.queues["base.demo"] == 3
    courier.round()
    courier.round()
    assert broker.queues["base.demo"] == 3


def test_a_ticket_between_broker_and_claim_is_not_missed(tmp_path: Path) -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store, tmp_path)
    job = a_job()
    store.submit(job, None)
    courier.round()
    store.claim("demo", job.id, "w", "t")
    courier.round()
    store.submit(a_job(), None)
    courier.round()
    assert broker.queues["base.demo"] == 0


def test_a_rescued_job_gets_its_ticket_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    store = MemoryJobStore(clock_ms=clock)
    courier, broker = a_courier(store, tmp_path)
    job = a_job()
    store.submit(job, None)
    assert lease_of(store.claim("demo", job.id, "w", "t")) == Lease(job.id, 1)
    clock.advance(10)
    courier.round()
    assert broker.queues["base.demo"] == 1


def test_a_model_that_is_no_longer_configured_is_left_alone(tmp_path: Path) -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store, tmp_path)
    store.submit(a_job(model="gone"), None)
    courier.round()
    courier.round()
    assert not broker.queues


def test_an_ended_job_is_erased_with_its_pictures_after_its_retention(tmp_path: Path) -> None:
    clock = ManualClock()
    store = MemoryJobStore(QueueRules(retention_s=60), clock)
    courier, _ = a_courier(store, tmp_path)
    objects = FolderStore(tmp_path, "http://localhost", 60)
    job = a_job()
    store.submit(job, None)
    lease = lease_of(store.claim("demo", job.id, "w", "t"))
    assert lease is not None
    objects.put(f"{job.folder}1/0.png", b"picture", "image/png")
    store.finish(lease, Outcome(status=JobStatus.SUCCEEDED))
    courier.round()
    assert store.get(job.id).status is JobStatus.SUCCEEDED
    clock.advance(61)
    courier.round()
    assert not objects.exists(f"{job.folder}1/0.png")
    with pytest.raises(JobNotFound):
        store.get(job.id)
