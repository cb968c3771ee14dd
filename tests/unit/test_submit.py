"""A planned job into the store and onto its queue."""

from collections.abc import Mapping

import pytest

from lorajobs.access_errors import IdempotencyMismatch
from lorajobs.catalog import Catalog
from lorajobs.errors import (
    ConfigError,
    JobNotFinished,
    JobNotFound,
    QueueFull,
    StoreUnavailable,
    UploadFailed,
)
from lorajobs.jobs import Job, JobStatus, JobWarning
from lorajobs.plan import Plan
from lorajobs.submit import resubmit, submit
from lorajobs.terms import Once, Terms
from lorajobs.testing import ManualClock, MemoryJobStore
from tests.jobs import a_spec

PLAN = Plan(a_spec(num_images=2), (JobWarning(code="lora_scale", detail="x"),), "base.demo", 0)


class SameServer:
    """A broker on the store's own server."""

    def envelope(self, queue: str) -> Mapping[str, str] | None:
        return {"queue": queue, "message": "{}"}

    def publish(self, queue: str) -> None:
        raise AssertionError("the store pushed the ticket already")


class OtherServer:
    """A broker on a server of its own, which may be down."""

    def __init__(self, *, down: bool = False) -> None:
        self.published: list[str] = []
        self._down = down

    def envelope(self, queue: str) -> Mapping[str, str] | None:
        return None

    def publish(self, queue: str) -> None:
        if self._down:
            raise StoreUnavailable("the broker does not answer")
        self.published.append(queue)


class Cupboard:
    """Where jobs' pictures are put."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def of(self, job: Job) -> bytes | None:
        return self.held.get(job.source_key)

    def keep(self, job: Job, png: bytes) -> None:
        self.held[job.source_key] = png

    def discard(self, job: Job) -> None:
        del self.held[job.source_key]


def test_the_job_comes_back_as_the_store_has_it() -> None:
    store = MemoryJobStore(clock_ms=ManualClock(5))
    job, _ = submit(PLAN, store, SameServer())
    assert store.get(job.id) == job
    assert (job.status, job.created_ms, job.warnings) == (JobStatus.QUEUED, 5, PLAN.warnings)
    assert job.steps == 2 * PLAN.spec.num_inference_steps


def test_the_ticket_goes_with_the_job_where_the_broker_is_the_store() -> None:
    store = MemoryJobStore()
    submit(PLAN, store, SameServer())
    assert store.tickets == [{"queue": "base.demo", "message": "{}"}]


def test_the_ticket_is_sent_after_the_job_where_the_broker_is_another_server() -> None:
    store, queue = MemoryJobStore(), OtherServer()
    submit(PLAN, store, queue)
    assert store.tickets == []
    assert queue.published == ["base.demo"]


def test_a_job_is_accepted_though_its_ticket_is_not(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryJobStore()
    job, _ = submit(PLAN, store, OtherServer(down=True))
    assert store.get(job.id).status is JobStatus.QUEUED
    assert "the broker does not answer" in caplog.text


def test_ids_are_random() -> None:
    store = MemoryJobStore()
    assert len({submit(PLAN, store, SameServer())[0].id for _ in range(10)}) == 10


def test_an_ended_job_is_submitted_again_with_all_it_had() -> None:
    store, queue = MemoryJobStore(), OtherServer()
    old, _ = submit(PLAN, store, queue)
    store.cancel(old.id)
    new = resubmit(old.id, Catalog.load(None), store, queue, Cupboard())
    assert store.get(new.id) == new
    assert new.id != old.id
    assert new.spec == old.spec.model_copy(update={"retry_of": old.id})
    assert (new.status, new.warnings) == (JobStatus.QUEUED, PLAN.warnings)
    assert queue.published == ["base.demo", "base.demo"]


WITH_PICTURE = PLAN._replace(spec=a_spec(owner="ann"), source=b"png")


def test_the_picture_that_a_job_starts_from_lies_beside_it_before_it_can_be_claimed() -> None:
    store = MemoryJobStore()

    class Watching(Cupboard):
        def keep(self, job: Job, png: bytes) -> None:
            assert store.tickets == []
            super().keep(job, png)

    cupboard = Watching()
    old, _ = submit(WITH_PICTURE, store, SameServer(), sources=cupboard)
    assert cupboard.held == {f"jobs/{old.id}/source.png": b"png"}
    store.cancel(old.id)
    store.tickets.clear()
    new = resubmit(old.id, Catalog.load(None), store, SameServer(), cupboard)
    assert cupboard.held[new.source_key] == b"png"
    assert len(cupboard.held) == 2


def test_a_job_whose_picture_cannot_be_stored_is_not_submitted() -> None:
    class Full(Cupboard):
        def keep(self, job: Job, png: bytes) -> None:
            raise UploadFailed("no room")

    store = MemoryJobStore()
    with pytest.raises(UploadFailed):
        submit(WITH_PICTURE, store, SameServer(), sources=Full())
    assert store.tickets == []


def test_the_picture_of_a_job_that_was_refused_or_there_already_is_not_kept() -> None:
    store, cupboard, once = MemoryJobStore(), Cupboard(), Once("name", "print")
    first, _ = submit(WITH_PICTURE, store, SameServer(), terms=Terms(1, once), sources=cupboard)
    again, _ = submit(WITH_PICTURE, store, SameServer(), terms=Terms(1, once), sources=cupboard)
    assert again.id == first.id
    other = Terms(1, once._replace(fingerprint="other"))
    with pytest.raises(IdempotencyMismatch):
        submit(WITH_PICTURE, store, SameServer(), terms=other, sources=cupboard)
    with pytest.raises(QueueFull):
        submit(WITH_PICTURE, store, SameServer(), terms=Terms(1), sources=cupboard)
    assert list(cupboard.held) == [first.source_key]


def test_only_an_ended_job_of_a_configured_base_is_submitted_again() -> None:
    store, queue, catalog = MemoryJobStore(), OtherServer(), Catalog.load(None)
    job, _ = submit(PLAN, store, queue)
    with pytest.raises(JobNotFinished, match="is queued; only an ended job"):
        resubmit(job.id, catalog, store, queue, Cupboard())
    with pytest.raises(JobNotFound):
        resubmit("nope", catalog, store, queue, Cupboard())
    gone, _ = submit(PLAN._replace(spec=a_spec(model="gone")), store, queue)
    store.cancel(gone.id)
    with pytest.raises(ConfigError, match="no model 'gone' is configured"):
        resubmit(gone.id, catalog, store, queue, Cupboard())
