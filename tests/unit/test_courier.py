"""The courier's rounds: lost tickets are replaced, no more; due webhooks are handed out."""

from collections import Counter
from pathlib import Path

import pytest

from lorajobs.catalog import Catalog
from lorajobs.courier import Courier
from lorajobs.courier_metrics import CourierMetrics
from lorajobs.errors import JobNotFound
from lorajobs.images import Images
from lorajobs.jobs import JobStatus, Lease, Outcome
from lorajobs.settings import Settings
from lorajobs.storage.folder import FolderStore
from lorajobs.store import QueueRules
from lorajobs.testing import ManualClock, MemoryImages, MemoryJobStore
from tests.images import encoded
from tests.jobs import a_job, lease_of


class Broker:
    """Tickets as a broker counts them."""

    def __init__(self) -> None:
        self.queues: Counter[str] = Counter()
        #: how often uploads were swept
        self.sweeps = 0

    def sweep(self) -> None:
        self.sweeps += 1

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
        store, broker, catalog, objects, images, lambda: None, metrics, broker.sweep
    ), broker


def test_a_ticket_that_is_missing_twice_is_minted_once(tmp_path: Path) -> None:
    store = MemoryJobStore()
    courier, broker = a_courier(store, tmp_path)
    for _ in range(3):
        store.submit(a_job(), None)
    courier.round()
    assert (broker.queues["base.demo"], broker.sweeps) == (0, 1)
    courier.round()
    assert (broker.queues["base.demo"], broker.sweeps) == (3, 2)
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


def test_pictures_that_expired_or_whose_job_never_came_are_erased(tmp_path: Path) -> None:
    clock = ManualClock()
    store = MemoryJobStore(clock_ms=clock)
    courier, _ = a_courier(store, tmp_path)
    images, objects = courier._images, courier._objects
    upload = images.upload(encoded(), "ann")
    came, never = a_job(), a_job()
    for job in (came, never):
        images.keep(job, encoded())
    store.submit(came, None)
    courier.round()
    assert all(objects.exists(key) for key in (upload.key, came.source_key, never.source_key))
    clock.advance(2 * 86_400)
    courier.round()
    assert objects.exists(came.source_key)
    assert not objects.exists(upload.key)
    assert not objects.exists(never.source_key)
