"""What ends a job besides its attempts in every job store, on memory and on a real Valkey."""

import pytest

from lorajobs.errors import JobNotFinished, JobNotFound
from lorajobs.job_page import JobFilter
from lorajobs.jobs import JobStatus
from lorajobs.store import QueueRules
from tests.backends import Backend, Store
from tests.contract.job_store.queue import DIED, DONE, HOOK, claimed, waiting
from tests.jobs import a_job


def test_cancel_of_a_waiting_job_is_final_and_idempotent(store: Store) -> None:
    job = a_job(webhook=HOOK)
    store.submit(job, None)
    canceled = store.cancel(job.id)
    assert canceled.status is JobStatus.CANCELED
    assert store.cancel(job.id) == canceled
    assert waiting(store) == []
    assert store.claim("demo", job.id, "w1", "t") is None
    assert [d.event for d in store.due_deliveries(10, 30)] == ["job.canceled"]


def test_a_canceled_job_is_not_run_again_after_its_worker_died(backend: Backend) -> None:
    store = backend.store
    job = a_job()
    claimed(store, job)
    store.cancel(job.id)
    backend.expire_leases()
    assert store.rescue() == ({}, 1)
    assert store.get(job.id).status is JobStatus.CANCELED


def test_a_canceled_job_that_is_put_back_ends(store: Store) -> None:
    job = a_job()
    lease = claimed(store, job)
    store.cancel(job.id)
    assert store.requeue(lease, DIED, refund=True) is JobStatus.CANCELED
    got = store.get(job.id)
    assert (got.status, got.error) == (JobStatus.CANCELED, None)


def test_cancel_of_a_delayed_job(backend: Backend) -> None:
    store = backend.store
    job = a_job()
    store.requeue(claimed(store, job), DIED, delay_s=60)
    assert store.cancel(job.id).status is JobStatus.CANCELED
    backend.make_due()
    assert store.rescue() == ({}, 0)


def test_a_job_that_can_never_run_is_refused_while_it_waits(backend: Backend) -> None:
    store = backend.store
    waiting, delayed, running = a_job(webhook=HOOK), a_job(), a_job()
    store.submit(waiting, None)
    store.requeue(claimed(store, delayed), DIED, delay_s=60)
    lease = claimed(store, running)
    assert store.refuse(waiting.id, DIED)
    assert store.refuse(delayed.id, DIED)
    assert not store.refuse(running.id, DIED)
    assert not store.refuse(waiting.id, DIED)
    assert not store.refuse("never-there", DIED)
    got = store.get(waiting.id)
    assert (got.status, got.error, got.attempt) == (JobStatus.FAILED, DIED, 0)
    assert store.claim("demo", waiting.id, "w", "t") is None
    assert [d.event for d in store.due_deliveries(10, 30)] == ["job.failed"]
    assert store.finish(lease, DONE)
    backend.make_due()
    assert store.rescue() == ({}, 0)


def test_a_job_that_does_not_start_in_time_expires(backend: Backend) -> None:
    store = backend.store
    late, started = a_job(start_deadline_s=1, webhook=HOOK), a_job(start_deadline_s=1)
    store.submit(late, None)
    lease = claimed(store, started)
    backend.advance(3)
    assert store.rescue().ended == 1
    got = store.get(late.id)
    assert got.status is JobStatus.EXPIRED
    assert got.error is not None
    assert got.error.code == "deadline_exceeded"
    assert [d.event for d in store.due_deliveries(10, 30)] == ["job.expired"]
    assert store.claim("demo", late.id, "w", "t") is None
    assert store.finish(lease, DONE)


def test_delete_only_after_the_end(store: Store) -> None:
    job = a_job(webhook=HOOK)
    lease = claimed(store, job)
    with pytest.raises(JobNotFinished):
        store.delete(job.id)
    store.finish(lease, DONE)
    store.delete(job.id)
    with pytest.raises(JobNotFound):
        store.get(job.id)
    assert store.page(JobFilter(), 10, None).jobs == []
    assert store.due_deliveries(10, 30) == []


@pytest.mark.rules(QueueRules(retention_s=5))
def test_ended_jobs_are_spent_after_their_retention(ruled: Backend) -> None:
    store = ruled.store
    ended, waiting = a_job(), a_job()
    store.finish(claimed(store, ended), DONE)
    store.submit(waiting, None)
    assert store.spent(10) == []
    ruled.advance(7)
    assert store.spent(10) == [ended.id]
    store.delete(ended.id)
    assert store.spent(10) == []
    assert store.get(waiting.id).status is JobStatus.QUEUED
