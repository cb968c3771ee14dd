"""What every job store must do, on memory and on a real Valkey."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from lorajobs.errors import JobNotFinished, JobNotFound, QueueFull, StoreUnavailable, WorkerLost
from lorajobs.job_page import JobFilter
from lorajobs.jobs import (
    AppliedLora,
    Job,
    JobError,
    JobStatus,
    JobWarning,
    Lease,
    Metrics,
    Outcome,
    Stage,
    Withheld,
)
from lorajobs.place import Crew, Place
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.snapshot import WaitingGroup
from lorajobs.spec import Webhook
from lorajobs.store import DRAINING, Progress, QueueRules, Signal, Trade, WorkerState
from tests.backends import RULES, Backend, MemoryBackend, RedisBackend, Store
from tests.jobs import a_job, an_adapter, an_output, lease_of, use

DIED = WorkerLost("died").as_job_error()
DONE = Outcome(status=JobStatus.SUCCEEDED)
HOOK = Webhook(url="https://receiver.example/hook")


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with closing(_opened(request, RULES)) as opened:
        yield opened


def _opened(request: pytest.FixtureRequest, rules: QueueRules) -> Backend:
    if request.node.callspec.params["backend"] == "memory":
        return MemoryBackend(rules)
    return RedisBackend(request.getfixturevalue("valkey_url"), rules)


@pytest.fixture
def ruled(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Backend]:
    """A backend with the rules of the marker `rules`."""
    with closing(_opened(request, request.node.get_closest_marker("rules").args[0])) as opened:
        yield opened


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


def claimed(store: Store, job: Job, worker: str = "w1") -> Lease:
    store.submit(job, None)
    lease = lease_of(store.claim("demo", job.id, worker, f"ticket-{job.id}"))
    assert lease is not None
    return lease


def waiting(store: Store) -> list[str]:
    """The jobs that may be claimed, in the order of their places."""
    queued = store.page(JobFilter(status=JobStatus.QUEUED), 100, None).jobs
    places = {job.id: place for job in queued if (place := store.place(job.id, 0))}
    here = [job_id for job_id, place in places.items() if not place.delayed]
    return sorted(here, key=lambda job_id: places[job_id].position)


def groups(store: Store, worker: str = "", loaded: str = "") -> list[WaitingGroup]:
    """All groups of all keys."""
    return [g for turn in store.snapshot("demo", worker, loaded).turns for g in turn.groups]


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


def test_unknown_jobs(store: Store) -> None:
    for verb in (store.get, store.cancel, store.delete):
        with pytest.raises(JobNotFound):
            verb("no-such-job")


def test_oldest_waits_first_and_positions_count(store: Store) -> None:
    jobs = [a_job(loras=(use("pixel", 0.5),)), a_job(), a_job()]
    for job in jobs:
        store.submit(job, None)
    places = [store.place(job_id, 60_000_000) for job_id in waiting(store)]
    assert [place and (place.position, place.ahead_max) for place in places] == [
        *((0, 2), (1, 2), (2, 2))
    ]
    (turn,) = store.snapshot("demo").turns
    assert (turn.owner, turn.had) == ("", False)
    scores = [group.oldest.score_us for group in turn.groups]
    assert scores == sorted(scores)
    assert turn.since_us == scores[0]
    assert {g.oldest.group: g.waiting for g in turn.groups} == {
        f"{an_adapter('pixel').sha256}@0.5": 1,
        "": 2,
    }
    assert store.snapshot("demo").now_us >= scores[-1]


def test_groups_show_their_oldest_job_their_size_and_who_has_them_applied(store: Store) -> None:
    pixel, soft3d = use("pixel"), use("soft3d")
    jobs = [a_job(loras=loras) for loras in ((pixel,), (), (pixel,), (soft3d, pixel), (pixel,))]
    for job in jobs:
        store.submit(job, None)
    for name in ("w1", "w2"):
        store.put_worker(WorkerState(name, "demo", "warm", [], None), 60)
    one = jobs[0].spec.group

    def seen(worker: str = "w1") -> dict[str, tuple[int, bool]]:
        return {g.oldest.group: (g.waiting, g.elsewhere) for g in groups(store, worker, one)}

    both = jobs[3].spec.group
    assert both == a_job(loras=(pixel, soft3d)).spec.group
    assert seen() == {one: (3, False), "": (1, False), both: (1, False)}
    (turn,) = store.snapshot("demo", "w1", one).turns
    assert turn.loaded is not None
    assert turn.loaded.id in {jobs[i].id for i in (0, 2, 4)}
    assert store.snapshot("demo", "w1", "nothing").turns[0].loaded is None
    lease = lease_of(store.claim("demo", turn.loaded.id, "w2", "t"))
    assert lease is not None
    assert seen()[one] == (2, True)
    assert seen("w2")[one] == (2, False)
    store.put_worker(WorkerState("w2", "demo", DRAINING, [], None), 60)
    assert seen()[one] == (2, False)
    store.requeue(lease, DIED)
    assert seen()[one] == (3, False)
    for job in jobs:
        store.cancel(job.id)
    assert groups(store) == []


def test_what_a_worker_that_is_gone_took_last_counts_for_nobody(store: Store) -> None:
    store.put_worker(WorkerState("w2", "demo", "warm", [], None), 60)
    claimed(store, a_job(loras=(use("pixel"),)), "w2")
    store.submit(a_job(loras=(use("pixel"),)), None)
    assert [group.elsewhere for group in groups(store)] == [True]
    store.remove_worker("w2")
    assert [group.elsewhere for group in groups(store)] == [False]


def test_a_worker_that_took_a_job_of_another_base_left_the_adapters_of_the_first(
    backend: Backend,
) -> None:
    store = backend.store
    store.put_worker(WorkerState("w2", "demo", "warm", [], None), 60)
    store.finish(claimed(store, a_job(loras=(use("pixel"),)), "w2"), DONE)
    store.submit(a_job(loras=(use("pixel"),)), None)
    assert [group.elsewhere for group in groups(store)] == [True]
    other = a_job(model="sdxl")
    store.submit(other, None)
    trade = Trade(backend.ticket, "base.sdxl")
    assert store.claim("sdxl", other.id, "w2", "t9", trade)
    # In place of the ticket that was the first base's.
    assert backend.pushed() == 1
    assert store.claim("sdxl", None, "w2", "t9", trade)
    assert backend.pushed() == 1
    assert [group.elsewhere for group in groups(store)] == [False]


def test_keys_take_turns(store: Store) -> None:
    mine = [a_job(owner="anna") for _ in range(5)]
    for job in mine:
        store.submit(job, None)
    store.claim("demo", mine[0].id, "w1", "t0")
    his = a_job(owner="ben")
    store.submit(his, None)
    place = store.place(his.id, 0)
    assert place is not None
    assert place.position <= 1
    # Both have one turn before the next of either, and anna's first is over.
    assert place.ahead_max == 2
    last = store.place(mine[-1].id, 0)
    assert last is not None
    assert (last.position, last.ahead_max) == (4, 4)
    turns = {turn.owner: turn for turn in store.snapshot("demo").turns}
    assert {owner: turn.had for owner, turn in turns.items()} == {"anna": True, "ben": False}
    assert [group.waiting for turn in turns.values() for group in turn.groups] == [5, 5]
    store.claim("demo", his.id, "w1", "t1")
    assert [turn.owner for turn in store.snapshot("demo").turns] == ["anna"]
    # Who takes a second turn begins a new round.
    store.claim("demo", mine[1].id, "w1", "t2")
    assert [turn.had for turn in store.snapshot("demo").turns] == [True]
    store.submit(a_job(owner="ben"), None)
    turns = {turn.owner: turn for turn in store.snapshot("demo").turns}
    assert {owner: turn.had for owner, turn in turns.items()} == {"anna": True, "ben": False}


@pytest.mark.rules(RULES._replace(head_start_s=1000))
def test_a_head_start_brings_a_key_forward_once(ruled: Backend) -> None:
    store = ruled.store
    normal, high, again = (
        a_job(owner="anna"),
        *(a_job(owner="ben", priority="high") for _ in range(2)),
    )
    for job in (normal, high, again):
        store.submit(job, None)
    assert [turn.owner for turn in store.snapshot("demo").turns] == ["ben", "anna"]
    store.claim("demo", high.id, "w1", "t")
    assert [turn.owner for turn in store.snapshot("demo").turns] == ["anna", "ben"]


@pytest.mark.rules(RULES._replace(max_waiting_per_key=2))
def test_a_key_may_have_so_many_jobs_waiting(ruled: Backend) -> None:
    store = ruled.store
    for owner in ("anna", "anna", "ben", "", "", ""):
        store.submit(a_job(owner=owner), None)
    with pytest.raises(QueueFull, match="2 jobs of this API key"):
        store.submit(a_job(owner="anna"), None)
    store.submit(a_job(owner="ben"), None)
    store.submit(a_job(owner="anna", model="sdxl"), None)


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


def test_pages_are_newest_first_and_complete(store: Store) -> None:
    jobs = [a_job(loras=(use("soft3d"),) if i % 3 == 0 else ()) for i in range(7)]
    for job in jobs:
        store.submit(job, None)
    seen: list[str] = []
    cursor = None
    while True:
        page = store.page(JobFilter(), 3, cursor)
        assert len(page.jobs) <= 3
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(job.id for job in jobs)
    times = [store.get(i).created_ms for i in seen]
    assert times == sorted(times, reverse=True)
    only = store.page(JobFilter(lora="soft3d", model="demo", status=JobStatus.QUEUED), 10, None)
    assert {job.id for job in only.jobs} == {jobs[0].id, jobs[3].id, jobs[6].id}
    assert store.page(JobFilter(status=JobStatus.FAILED), 10, None).jobs == []
    assert store.page(JobFilter(model="other"), 10, None).jobs == []


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


def test_priority_is_a_head_start(backend: Backend) -> None:
    store = backend.store
    low, normal, high = (a_job(priority=p, loras=(use(p),)) for p in ("low", "normal", "high"))
    for job in (low, normal, high):
        store.submit(job, None)
    assert waiting(store) == [high.id, normal.id, low.id]
    first, _, last = (group.oldest for group in groups(store))
    assert first.id == high.id
    assert last.score_us - first.score_us == pytest.approx(120_000_000, abs=2_000_000)


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


def test_workers_are_listed_while_they_live(backend: Backend) -> None:
    store = backend.store
    loaded = [AppliedLora(id="pixel", revision="r", sha256="s", scale=0.5)]
    worker = WorkerState("w2", "demo", "warm", loaded, "job", placement="gpu")
    store.put_worker(worker, 60)
    store.put_worker(WorkerState("w1", "demo", "loading", [], None), 60)
    assert [w.name for w in store.workers()] == ["w1", "w2"]
    assert store.workers()[1] == worker
    store.remove_worker("w1")
    store.remove_worker("never-there")
    assert [w.name for w in store.workers()] == ["w2"]


def test_a_dead_server_is_a_store_error() -> None:
    store = RedisJobStore(connect("redis://127.0.0.1:1/0"))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.submit(a_job(), None)
    with pytest.raises(StoreUnavailable):
        store.get("x")
