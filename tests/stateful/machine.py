"""Random use of a job store by API, workers and couriers, some of which die or come back late.

After every step the store must hold what the ledger says, and what no ledger is needed for: only
the moves of the table, ends that never change, attempts that only rise.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from lorajobs.errors import JobNotFinished, JobNotFound
from lorajobs.jobs import (
    TRANSITIONS,
    AdapterUse,
    Job,
    JobError,
    JobStatus,
    Lease,
    Outcome,
    Stage,
    Webhook,
    group_of,
)
from lorajobs.store import Delivery, JobFilter, Progress, Signal
from tests.backends import Backend, RedisBackend
from tests.jobs import a_spec, an_output, use
from tests.stateful.keys import check_keys, contents
from tests.stateful.ledger import Ledger

T = TypeVar("T")
Move = tuple[JobStatus, JobStatus]
#: the id's first letter, base model, adapters, webhook
Request = tuple[str, str, tuple[AdapterUse, ...], Webhook | None]

MODELS = ("demo", "sdxl", "flux")
GROUPS: tuple[tuple[AdapterUse, ...], ...] = (
    (),
    (use("pixel", 0.5),),
    (use("pixel", 1.0),),
    (use("soft3d"), use("pixel", 0.5)),
)
HOOK = Webhook(url="https://receiver.example/hook")
TOGETHER = 8
#: Every deadline is an odd multiple of 50 s and time passes by 100 s: on a real clock, which runs
#: on meanwhile, none is ever close.
ROUND_S, HOLD_S, DELAY_S = 100, 50, 150

models = st.sampled_from(MODELS)
request = st.tuples(
    st.sampled_from("ab"), models, st.sampled_from(GROUPS), st.sampled_from((None, HOOK))
)
workers = st.sampled_from(("w1", "w2", "w3"))
# Few, so that replies are lost and asked for again.
tickets = st.sampled_from(("t1", "t2", "t3"))
progress = st.builds(Progress, st.sampled_from(Stage), st.integers(0, 4), st.just(4))
ends = st.sampled_from((JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED))


def an_error(code: str) -> JobError:
    """An error that differs from others by its code."""
    return JobError(code=code, title="t", detail="d", retryable=True)


def an_outcome(lease: Lease, status: Any) -> Outcome:
    """What this attempt alone can have made."""
    folder = f"jobs/{lease.job_id}/{lease.attempt}/"
    if status is JobStatus.SUCCEEDED:
        return Outcome(status=status, outputs=(an_output(key=f"{folder}0.png"),))
    error = an_error(f"refused_{lease.attempt}") if status is JobStatus.FAILED else None
    return Outcome(status=status, error=error)


def fields(job: Job) -> dict[str, object]:
    """What the ledger knows of a record."""
    names = ("spec", "created_ms", "status", "attempt", "worker", "cancel_requested")
    error = job.error.code if job.error else None
    return {
        **{name: getattr(job, name) for name in names},
        **{"stage": job.stage, "step": job.step, "error": error, "outputs": job.outputs},
    }


def some(*pools: Callable[["StoreMachine"], Collection[T]]) -> st.SearchStrategy[T]:
    """One of a pool of the machine's, each pool as often as the others; not all may be empty."""

    def draw(machine: "StoreMachine") -> st.SearchStrategy[T]:
        return st.one_of(*(st.sampled_from(list(pool)) for p in pools if (pool := p(machine))))

    return st.runner().flatmap(draw)


# Twice what a verb is for, once anything: rules that change nothing would take most of the steps.
waiting = some(lambda m: m.waiting(), lambda m: m.waiting(), lambda m: m.ids)
ended = some(lambda m: m.ended(), lambda m: m.ended(), lambda m: m.ids)
any_job = some(lambda m: m.ids)
held = some(lambda m: m.held())
leases = some(lambda m: m.held(), lambda m: m.held(), lambda m: m.leases)
in_hand = some(lambda m: m.hands)

if_jobs = precondition(lambda m: m.ids)
if_waiting = precondition(lambda m: m.waiting())
if_leases = precondition(lambda m: m.leases)
if_held = precondition(lambda m: m.held())
if_in_hand = precondition(lambda m: m.hands)


class StoreMachine(RuleBasedStateMachine):
    """Everybody who uses a store, in any order."""

    def __init__(self, backend: Backend, walked: set[Move]) -> None:
        super().__init__()
        self.backend, self.store = backend, backend.store
        self.ledger = Ledger()
        self.walked = walked
        self.records: Mapping[str, Job] = {}
        #: of all jobs, whatever became of them
        self.ids: list[str] = []
        #: whatever became of them, but for those that crashed: holders of lost ones are zombies
        self.leases: list[Lease] = []
        #: who was given each attempt
        self.owners: dict[Lease, str] = {}
        #: deliveries that couriers believe to hold
        self.hands: list[Delivery] = []

    def teardown(self) -> None:
        self.backend.close()

    def waiting(self) -> list[str]:
        return [job_id for job_id, entry in self.ledger.entries.items() if entry.waits]

    def ended(self) -> list[str]:
        return [i for i, entry in self.ledger.entries.items() if entry.status.is_terminal]

    def held(self) -> list[Lease]:
        return [lease for lease in self.leases if self.ledger.owned(lease)]

    # The API

    @precondition(lambda m: len(m.ledger.entries) < TOGETHER)
    @rule(requests=st.lists(request, min_size=1, max_size=3), ticket=st.booleans())
    def submit(self, requests: list[Request], ticket: bool) -> None:
        for first, model, loras, webhook in requests:
            # Names sort otherwise than the submits: order comes from them alone.
            job_id = f"{first}-job-{len(self.ids):03}"
            spec = a_spec(model=model, loras=loras, webhook=webhook)
            job = Job(id=job_id, status=JobStatus.QUEUED, spec=spec, created_ms=0)
            assert self.store.submit(job, self.backend.ticket if ticket else None)
            self.ledger.submit(job, self.store.get(job_id).created_ms, ticket)
            self.ids.append(job_id)

    @precondition(lambda m: m.ledger.entries)
    @rule(job_id=some(lambda m: m.ledger.entries))
    def submit_again(self, job_id: str) -> None:
        # Only while the record is there: ids are made up by the API and never used again.
        assert not self.store.submit(self.ledger.entries[job_id].job, self.backend.ticket)

    @if_jobs
    @rule(job_id=any_job)
    def cancel(self, job_id: str) -> None:
        if job_id not in self.ledger.entries:
            with pytest.raises(JobNotFound):
                self.store.cancel(job_id)
            return
        self.ledger.cancel(job_id)
        assert self.store.cancel(job_id) == self.store.get(job_id)

    @if_jobs
    @rule(job_id=ended)
    def delete(self, job_id: str) -> None:
        entry = self.ledger.entries.get(job_id)
        if entry is not None and entry.status.is_terminal:
            self.store.delete(job_id)
            self.ledger.delete(job_id)
            return
        with pytest.raises(JobNotFinished if entry else JobNotFound):
            self.store.delete(job_id)

    # Workers

    @if_waiting
    @rule(job_id=some(lambda m: m.waiting()), worker=workers, ticket=tickets)
    def claim(self, job_id: str, worker: str, ticket: str) -> None:
        self._claim(self.ledger.entries[job_id].job.spec.model, job_id, worker, ticket)

    @if_jobs
    @rule(job_id=st.none() | waiting, model=models, worker=workers, ticket=tickets)
    def claim_anything(self, job_id: str | None, model: str, worker: str, ticket: str) -> None:
        self._claim(model, job_id, worker, ticket)

    def _claim(self, model: str, job_id: str | None, worker: str, ticket: str) -> None:
        lease = self.store.claim(model, job_id, worker, ticket)
        assert lease == self.ledger.claim(model, job_id, worker, ticket)
        if lease is None:
            return
        if lease not in self.owners:
            self.leases.append(lease)
        assert self.owners.setdefault(lease, worker) == worker

    @if_jobs
    @rule(job_id=any_job)
    def refuse(self, job_id: str) -> None:
        error = an_error("no_such_file")
        assert self.store.refuse(job_id, error) is self.ledger.refuse(job_id, error)

    @if_leases
    @rule(lease=leases, said=st.none() | progress)
    def renew(self, lease: Lease, said: Progress | None) -> None:
        assert self.store.renew(lease, said) is self.ledger.renew(lease, said)

    @if_leases
    @rule(lease=leases, statuses=st.lists(ends, min_size=1, max_size=2))
    def finish(self, lease: Lease, statuses: list[JobStatus]) -> None:
        for status in statuses:
            outcome = an_outcome(lease, status)
            assert self.store.finish(lease, outcome) is self.ledger.finish(lease, outcome)

    @if_leases
    @rule(
        lease=leases,
        delay_s=st.sampled_from((0, DELAY_S)),
        refund=st.booleans(),
        ticket=st.booleans(),
    )
    def requeue(self, lease: Lease, delay_s: float, refund: bool, ticket: bool) -> None:
        error = an_error(f"tried_{lease.attempt}")
        pushed = self.backend.ticket if ticket else None
        status = self.store.requeue(lease, error, delay_s=delay_s, refund=refund, ticket=pushed)
        assert status is self.ledger.requeue(lease, error, delay_s, refund, ticket and not delay_s)

    @if_held
    @rule(lease=held)
    def crash(self, lease: Lease) -> None:
        self.hang(lease)
        self.leases.remove(lease)

    @if_held
    @rule(lease=held)
    def hang(self, lease: Lease) -> None:
        """A lease runs out while the others are renewed, and the job is rescued.

        Unlike one that crashed, this worker comes back: its lease stays in use.
        """
        self.pass_time(1)
        for other in self.held():
            if other != lease:
                assert self.store.renew(other) is self.ledger.renew(other, None) is not Signal.LOST
        self.rescue()
        assert lease not in self.held()

    # Couriers and time

    @rule(rounds=st.integers(1, 2))
    def pass_time(self, rounds: int) -> None:
        self.backend.advance(rounds * ROUND_S)
        self.ledger.now_s += rounds * ROUND_S

    @rule()
    def rescue(self) -> None:
        assert self.store.rescue() == self.ledger.rescue()

    @precondition(lambda m: m.ledger.outbox)
    @rule(limit=st.integers(1, TOGETHER))
    def deliver(self, limit: int) -> None:
        due = self.ledger.due()
        got = self.store.due_deliveries(limit, HOLD_S)
        assert len({delivery.id for delivery in got}) == len(got) == min(limit, len(due))
        for delivery in got:
            assert delivery.id in due
            assert delivery == self.ledger.hand_out(delivery.id, HOLD_S)
        self.hands += got

    @if_in_hand
    @rule(delivery=in_hand, retry_in_s=st.sampled_from((None, 0, DELAY_S)))
    def settle(self, delivery: Delivery, retry_in_s: float | None) -> None:
        self.store.settle(delivery, retry_in_s)
        self.ledger.settle(delivery.id, retry_in_s)

    @if_in_hand
    @rule(delivery=in_hand)
    def courier_dies(self, delivery: Delivery) -> None:
        """What it had in hand goes to another, unless it was settled or has its next try later."""
        self.hands.remove(delivery)
        self.pass_time(1)
        self.deliver(TOGETHER)

    # What must hold after every step

    @invariant()
    def store_agrees(self) -> None:
        self._check_records()
        self._check_queues()
        self._check_positions()
        assert self.backend.outbox() == self.ledger.outbox.keys()
        assert self.backend.pushed() == self.ledger.pushed

    def _check_records(self) -> None:
        page = self.store.page(JobFilter(), 2 * TOGETHER, None)
        order = sorted(page.jobs, key=lambda job: (job.created_ms, job.id), reverse=True)
        assert list(page.jobs) == order
        records = {job.id: job for job in page.jobs}
        assert len(records) == len(page.jobs)
        entries = self.ledger.entries
        assert {i: fields(job) for i, job in records.items()} == {
            i: entry.fields() for i, entry in entries.items()
        }
        for job_id in records.keys() & self.records.keys():
            self._check_move(self.records[job_id], records[job_id])
        self.records = records

    def _check_move(self, before: Job, after: Job) -> None:
        if before.status.is_terminal:
            assert after == before
        assert after.attempt - before.attempt in (0, 1)
        if after.status is not before.status:
            assert after.status in TRANSITIONS[before.status]
            self.walked.add((before.status, after.status))

    def _check_queues(self) -> None:
        backlog = self.store.backlog()
        for model in MODELS:
            queue = self.ledger.waiting(model)
            assert backlog.get(model, 0) == len(queue)
            seen = self.store.snapshot(model, window_us=3_600_000_000)
            assert [job.id for job in seen.waiting] == [entry.job.id for entry in queue]
            groups: dict[str, list[str]] = {}
            for entry in queue:
                groups.setdefault(entry.job.spec.group, []).append(entry.job.id)
            assert {g.oldest.group: (g.oldest.id, g.waiting) for g in seen.groups} == {
                group: (ids[0], len(ids)) for group, ids in groups.items()
            }
            assert seen.loaded == next((j for j in seen.waiting if j.group == group_of(())), None)

    def _check_positions(self) -> None:
        for entry in self.ledger.entries.values():
            ids = [other.job.id for other in self.ledger.waiting(entry.job.spec.model)]
            place = ids.index(entry.job.id) if entry.waits else len(ids)
            expected = place if entry.status is JobStatus.QUEUED else None
            assert self.store.position(entry.job) == expected


class RedisMachine(StoreMachine):
    """The same on Redis, with a look at its keys."""

    def __init__(self, backend: RedisBackend, walked: set[Move]) -> None:
        super().__init__(backend, walked)
        self._redis = backend

    def _check_records(self) -> None:
        super()._check_records()
        keys = contents(self._redis.client, self._redis.prefix)
        check_keys(keys, self.records, self.ledger.deleted)
