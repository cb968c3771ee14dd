"""What every job store must do with attempts and their leases, on memory and on a real Valkey."""

import pytest

from lorajobs.jobs import (
    AppliedLora,
    JobError,
    JobStatus,
    JobWarning,
    Lease,
    Metrics,
    Outcome,
    Stage,
    Withheld,
)
from lorajobs.place import Place
from lorajobs.store import Progress, Signal
from tests.backends import Backend, Store
from tests.contract.job_store.queue import DIED, DONE, HOOK, claimed, waiting
from tests.jobs import a_job, an_output, lease_of


def test_claim_takes_a_job_once(store: Store) -> None:
    job = a_job()
    lease = claimed(store, job)
    assert lease == Lease(job.id, 1)
    got = store.get(job.id)
    assert (got.status, got.worker, got.attempt) == (JobStatus.RUNNING, "w1", 1)
    assert got.started_ms is not None
    assert got.started_ms >= got.created_ms
    assert store.claim("demo", job.id, "w2", "other") is None
    assert waiting(store) == []
    assert store.place(got.id, 0) is None


def test_a_claim_repeated_by_the_same_ticket_gets_the_same_lease(store: Store) -> None:
    first, second = a_job(), a_job()
    lease = claimed(store, first)
    store.submit(second, None)
    ticket = f"ticket-{first.id}"
    assert lease_of(store.claim("demo", second.id, "w1", ticket)) == lease
    assert lease_of(store.claim("demo", None, "w1", ticket)) == lease
    assert store.get(second.id).status is JobStatus.QUEUED
    store.finish(lease, DONE)
    assert store.claim("demo", None, "w1", ticket) is None


def test_renew_records_progress_and_asks_for_cancellation(store: Store) -> None:
    job = a_job()
    lease = claimed(store, job)
    assert store.renew(lease, Progress(Stage.DENOISING, 3, 4)) is Signal.GO_ON
    got = store.get(job.id)
    assert (got.stage, got.step, got.steps) == (Stage.DENOISING, 3, 4)
    assert store.renew(lease) is Signal.GO_ON
    assert store.get(job.id).stage is Stage.DENOISING
    assert store.cancel(job.id).cancel_requested
    assert store.get(job.id).status is JobStatus.RUNNING
    assert store.renew(lease) is Signal.CANCEL


def test_finish_ends_the_job_with_what_the_attempt_made(store: Store) -> None:
    job = a_job()
    lease = claimed(store, job)
    outcome = Outcome(
        status=JobStatus.SUCCEEDED,
        applied_loras=(AppliedLora(id="pixel", revision="r", sha256="s", scale=1),),
        outputs=(an_output(nsfw=False), Withheld(index=1, width=8, height=8, seed=8)),
        warnings=(JobWarning(code="prompt_truncated", detail="…"),),
        metrics=Metrics(queue_s=0.5, swapped=True),
    )
    assert store.finish(lease, outcome)
    got = store.get(job.id)
    assert got.status is JobStatus.SUCCEEDED
    assert got.applied_loras == outcome.applied_loras
    assert got.outputs == outcome.outputs
    assert got.warnings == outcome.warnings
    assert got.metrics == outcome.metrics
    assert (got.step, got.stage) == (4, None)
    assert got.completed_ms is not None
    # A lost reply: the same words again are no second end.
    assert store.finish(lease, outcome)
    assert not store.finish(lease, Outcome(status=JobStatus.FAILED))
    assert store.get(job.id) == got


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELED])
def test_finish_of_an_attempt_that_made_nothing(store: Store, status: JobStatus) -> None:
    job = a_job(webhook=HOOK)
    error = DIED if status is JobStatus.FAILED else None
    assert store.finish(claimed(store, job), Outcome(status=status, error=error))
    got = store.get(job.id)
    assert (got.status, got.error, got.step, got.outputs) == (status, error, 0, ())
    assert [d.event for d in store.due_deliveries(10, 30)] == [f"job.{status}"]


def test_a_fenced_attempt_writes_nothing(backend: Backend) -> None:
    store = backend.store
    job = a_job()
    zombie = claimed(store, job)
    backend.expire_leases()
    assert store.rescue().waiting_again == {"demo": 1}
    fresh = lease_of(store.claim("demo", job.id, "w2", "t2"))
    assert fresh == Lease(job.id, 2)
    assert store.renew(zombie) is Signal.LOST
    assert store.requeue(zombie, DIED) is None
    assert not store.finish(zombie, DONE)
    assert store.get(job.id).status is JobStatus.RUNNING
    assert store.finish(fresh, DONE)


def test_rescue_takes_only_expired_leases(backend: Backend) -> None:
    store = backend.store
    lease = claimed(store, a_job())
    assert store.rescue() == ({}, 0)
    assert store.renew(lease) is Signal.GO_ON


def test_the_last_attempt_that_is_lost_fails_the_job(backend: Backend) -> None:
    store = backend.store
    job = a_job(webhook=HOOK)
    store.submit(job, None)
    for attempt in (1, 2, 3):
        assert lease_of(store.claim("demo", job.id, "w1", f"t{attempt}")) == Lease(job.id, attempt)
        backend.expire_leases()
        rescued = store.rescue()
    assert rescued == ({}, 1)
    got = store.get(job.id)
    assert got.status is JobStatus.FAILED
    assert got.error is not None
    assert got.error.code == "worker_lost"
    assert [d.event for d in store.due_deliveries(10, 30)] == ["job.failed"]


def test_a_requeued_job_keeps_its_place(store: Store) -> None:
    first, second = a_job(), a_job()
    lease = claimed(store, first)
    store.submit(second, None)
    assert store.requeue(lease, DIED) is JobStatus.QUEUED
    assert store.get(first.id).worker is None
    assert set(waiting(store)) == {first.id, second.id}
    assert lease_of(store.claim("demo", first.id, "w1", "t2")) == Lease(first.id, 2)


def test_a_delayed_job_waits_apart_until_it_is_due(backend: Backend) -> None:
    store = backend.store
    job = a_job()
    lease = claimed(store, job)
    assert store.requeue(lease, DIED, delay_s=60) is JobStatus.QUEUED
    assert waiting(store) == []
    assert store.claim("demo", job.id, "w1", "t2") is None
    assert store.place(job.id, 0) == Place(0, 0, True, None)
    assert store.rescue() == ({}, 0)
    backend.make_due()
    assert store.rescue().waiting_again == {"demo": 1}
    assert store.claim("demo", job.id, "w1", "t2") is not None


def test_a_refunded_attempt_does_not_count(store: Store) -> None:
    job = a_job()
    store.submit(job, None)
    for attempt in range(1, 6):
        lease = lease_of(store.claim("demo", job.id, "w1", f"t{attempt}"))
        assert lease == Lease(job.id, attempt)
        assert store.requeue(lease, DIED, refund=True) is JobStatus.QUEUED


def test_requeue_fails_with_its_error_after_the_last_attempt(store: Store) -> None:
    job = a_job()
    store.submit(job, None)
    error = JobError(code="upload_failed", title="t", detail="d", retryable=True)
    statuses = []
    for attempt in (1, 2, 3):
        lease = lease_of(store.claim("demo", job.id, "w1", f"t{attempt}"))
        assert lease is not None
        statuses.append(store.requeue(lease, error))
    assert statuses == [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.FAILED]
    assert store.get(job.id).error == error
