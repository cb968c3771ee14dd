"""What every job store must do with what is submitted, on memory and on a real Valkey."""

import pytest

from lorajobs.errors import QueueFull
from lorajobs.jobs import JobStatus, JobWarning
from lorajobs.place import Crew
from lorajobs.store import QueueRules
from tests.backends import RULES, Backend, Store
from tests.contract.job_store.queue import DIED, DONE, claimed
from tests.jobs import a_job, lease_of, use


def test_submit_then_get_returns_the_same_spec(store: Store) -> None:
    job = a_job(loras=(use("pixel", 0.9),), metadata={"k": "ü"})
    warned = job.model_copy(update={"warnings": (JobWarning(code="c", detail="d"),)})
    assert store.submit(warned, None).is_new
    got = store.get(job.id)
    assert (got.spec, got.warnings, got.status) == (job.spec, warned.warnings, JobStatus.QUEUED)
    assert (got.steps, got.attempt, got.stage) == (4, 0, None)
    assert got.created_ms > 0


def test_a_repeated_submit_changes_nothing(store: Store) -> None:
    job = a_job()
    first = store.submit(job, None)
    again = store.submit(job, None)
    assert (first.is_new, again.is_new) == (True, False)
    assert first._replace(is_new=False) == again
    assert first.created_ms == store.get(job.id).created_ms
    assert first.place == store.place(job.id, 0)
    assert store.backlog() == {"demo": 1}
    store.cancel(job.id)
    assert store.submit(job, None).place is None


@pytest.mark.rules(RULES._replace(max_waiting_per_key=2))
def test_a_key_may_have_so_many_jobs_waiting(ruled: Backend) -> None:
    store = ruled.store
    for owner in ("anna", "anna", "ben", "", "", ""):
        store.submit(a_job(owner=owner), None)
    with pytest.raises(QueueFull, match="2 jobs of this API key"):
        store.submit(a_job(owner="anna"), None)
    store.submit(a_job(owner="ben"), None)
    store.submit(a_job(owner="anna", model="sdxl"), None)


@pytest.mark.rules(QueueRules(max_waiting=2))
def test_a_full_queue_refuses_and_a_claim_makes_room(ruled: Backend) -> None:
    store = ruled.store
    jobs = [a_job() for _ in range(3)]
    store.submit(jobs[0], None)
    store.submit(jobs[1], None)
    with pytest.raises(QueueFull):
        store.submit(jobs[2], None)
    # A replay of an accepted one is no new job, and another base has its own queue.
    assert not store.submit(jobs[0], None).is_new
    store.submit(a_job(model="other"), None)
    assert store.claim("demo", jobs[0].id, "w", "t") is not None
    store.submit(jobs[2], None)


def test_the_expected_start_is_kept_to_be_compared(backend: Backend) -> None:
    store, first = backend.store, a_job()
    store.submit(first, None, crew=Crew(2, 0))
    assert store.get(first.id).predicted_s is None
    lease = lease_of(store.claim("demo", first.id, "w", "t"))
    assert lease is not None
    backend.advance(1)
    store.finish(lease, DONE)
    waits, second = a_job(), a_job()
    store.submit(waits, None)
    place = store.submit(second, None, crew=Crew(2, 0)).place
    assert place is not None
    assert store.get(second.id).predicted_s == place.starts_in_s(Crew(2, 0))
    assert store.get(waits.id).predicted_s is None


def test_the_mean_service_time_is_known_once_a_job_has_ended(backend: Backend) -> None:
    store = backend.store
    lease = claimed(store, a_job())
    backend.advance(1)
    store.finish(lease, DONE)
    waiting = a_job()
    store.submit(waiting, None)
    place = store.place(waiting.id, 0)
    assert place is not None
    # On a server next to no time has passed, and 0 is no estimate.
    assert place.service_s is None or 0 < place.service_s <= 1


def test_tickets_are_pushed_with_the_job(backend: Backend) -> None:
    store = backend.store
    ticket = backend.ticket
    job = a_job()
    assert store.submit(job, ticket).is_new
    assert backend.pushed() == 1
    assert not store.submit(job, ticket).is_new
    assert backend.pushed() == 1
    lease = lease_of(store.claim("demo", job.id, "w1", "t1"))
    assert lease is not None
    store.requeue(lease, DIED, ticket=ticket)
    assert backend.pushed() == 2
    lease = lease_of(store.claim("demo", job.id, "w1", "t2"))
    assert lease is not None
    store.requeue(lease, DIED, ticket=ticket, delay_s=9)
    assert backend.pushed() == 2
