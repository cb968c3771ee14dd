"""Random use of a job store by API, workers and couriers, some of which die or come back late.

After every step the store must hold what the ledger says.
"""

from collections.abc import Mapping

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lorajobs.errors import JobNotFinished, JobNotFound, QueueFull
from lorajobs.jobs import Job, JobStatus, Lease
from lorajobs.outbox import Delivery, Verdict
from lorajobs.spec import JobSpec
from lorajobs.store import Progress, QueueRules, Signal
from tests.backends import Backend
from tests.jobs import lease_of
from tests.stateful.agreement import Move, check_deliveries, check_queues, check_records, moves
from tests.stateful.draws import (
    A_DELIVERY,
    A_DELIVERY_ID,
    A_HELD_LEASE,
    A_KNOWN_JOB,
    A_LEASE,
    A_LIVE_JOB,
    A_MODEL,
    A_TICKET,
    A_VERDICT,
    A_WAITING_JOB,
    A_WORKER,
    AN_END,
    AN_ENDED_JOB,
    DELAY_S,
    IF_DELIVERIES,
    IF_ENDED,
    IF_FEW_LIVE,
    IF_HELD,
    IF_IN_HAND,
    IF_KNOWN,
    IF_LEASES,
    IF_LIVE,
    IF_OUTBOX,
    IF_RESTLESS,
    IF_SPENT,
    IF_TIME_COUNTS,
    IF_WAITING,
    MODELS,
    PROGRESS,
    SOME_REQUESTS,
    an_error,
    outcomes,
)
from tests.stateful.ledger import Ledger

#: Every deadline is an odd multiple of 50 s and time passes by 100 s: on a real clock, which runs
#: on meanwhile, none is ever close. A head start is longer than any run.
ROUND_S, HOLD_S = 100, 50
RULES = QueueRules(
    lease_s=50, head_start_s=1_000_000, max_waiting=4, max_waiting_per_key=2, retention_s=650
)


class StoreMachine(RuleBasedStateMachine):
    """Everybody who uses a store, in any order."""

    def __init__(self, backend: Backend, walked: set[Move]) -> None:
        super().__init__()
        self.backend, self.store = backend, backend.store
        self.ledger = Ledger(rules=RULES)
        self.walked = walked
        self.records: Mapping[str, Job] = {}

    def teardown(self) -> None:
        self.backend.close()

    # The API

    @initialize(requests=SOME_REQUESTS, ticket=st.booleans())
    def open(self, requests: list[tuple[str, JobSpec]], ticket: bool) -> None:
        self.submit(requests, ticket)

    @IF_FEW_LIVE
    @rule(requests=SOME_REQUESTS, ticket=st.booleans())
    def submit(self, requests: list[tuple[str, JobSpec]], ticket: bool) -> None:
        for letter, spec in requests:
            job_id = f"{letter}-job-{len(self.ledger.ids):03}"
            job = Job(id=job_id, status=JobStatus.QUEUED, spec=spec, created_ms=0)
            pushed = self.backend.ticket if ticket else None
            self.backend.tick()
            if self.ledger.is_full(spec):
                with pytest.raises(QueueFull):
                    self.store.submit(job, pushed)
                continue
            assert self.store.submit(job, pushed).is_new
            self.ledger.submit(job, self.store.get(job_id).created_ms, ticket)

    @IF_KNOWN
    @rule(job_id=A_KNOWN_JOB)
    def submit_again(self, job_id: str) -> None:
        # Only while the record is there: ids are made up by the API and never used again.
        assert not self.store.submit(self.ledger.entries[job_id].job, self.backend.ticket).is_new

    @IF_LIVE
    @rule(job_id=A_LIVE_JOB)
    def cancel(self, job_id: str) -> None:
        if job_id not in self.ledger.entries:
            with pytest.raises(JobNotFound):
                self.store.cancel(job_id)
            return
        self.ledger.cancel(job_id)
        assert self.store.cancel(job_id) == self.store.get(job_id)

    @IF_ENDED
    @rule(job_id=AN_ENDED_JOB)
    def delete(self, job_id: str) -> None:
        entry = self.ledger.entries.get(job_id)
        if entry is not None and entry.status.is_terminal:
            self.store.delete(job_id)
            self.ledger.delete(job_id)
            return
        with pytest.raises(JobNotFinished if entry else JobNotFound):
            self.store.delete(job_id)

    # Workers

    @IF_WAITING
    @rule(job_id=A_WAITING_JOB, others=st.integers(0, 2), worker=A_WORKER, ticket=A_TICKET)
    def claim(self, job_id: str, others: int, worker: str, ticket: str) -> None:
        """One worker claims a job, and others the next ones."""
        job = self.ledger.entries[job_id].job
        self._claim(job.spec.model, job_id, worker, ticket)
        for number, entry in enumerate(self.ledger.waiting(job.spec.model)[:others]):
            self._claim(job.spec.model, entry.job.id, f"other{number}", ticket)

    @IF_LIVE
    @rule(job_id=st.none() | A_LIVE_JOB, model=A_MODEL, worker=A_WORKER, ticket=A_TICKET)
    def claim_anything(self, job_id: str | None, model: str, worker: str, ticket: str) -> None:
        self._claim(model, job_id, worker, ticket)

    def _claim(self, model: str, job_id: str | None, worker: str, ticket: str) -> None:
        self.backend.tick()
        lease = lease_of(self.store.claim(model, job_id, worker, ticket))
        assert lease == self.ledger.claim(model, job_id, worker, ticket)
        assert lease is None or self.ledger.owners[lease] == worker

    @IF_LIVE
    @rule(job_id=A_LIVE_JOB)
    def refuse(self, job_id: str) -> None:
        error = an_error("no_such_file")
        assert self.store.refuse(job_id, error) is self.ledger.refuse(job_id, error)

    @IF_LEASES
    @rule(lease=A_LEASE, said=st.none() | PROGRESS)
    def renew(self, lease: Lease, said: Progress | None) -> None:
        assert self.store.renew(lease, said) is self.ledger.renew(lease, said)

    @IF_LEASES
    @rule(
        lease=A_LEASE,
        statuses=st.lists(AN_END, min_size=1, max_size=2),
        then_cancel=st.booleans(),
    )
    def finish(self, lease: Lease, statuses: list[JobStatus], then_cancel: bool) -> None:
        for status in statuses:
            outcome = outcomes(lease)[status]
            assert self.store.finish(lease, outcome) is self.ledger.finish(lease, outcome)
            self.check()
        if then_cancel:
            self.cancel(lease.job_id)

    @IF_LEASES
    @rule(lease=A_LEASE, delay_s=st.sampled_from((0, DELAY_S)), ticket=st.booleans())
    def requeue(self, lease: Lease, delay_s: float, ticket: bool) -> None:
        self._requeue(lease, delay_s=delay_s, refund=False, ticket=ticket)

    @IF_HELD
    @rule(lease=A_HELD_LEASE, refunds=st.lists(st.booleans(), min_size=1, max_size=3))
    def retry(self, lease: Lease, refunds: list[bool]) -> None:
        """A job comes back to its worker time and again, for a shutdown or for an error."""
        entry = self.ledger.entries[lease.job_id]
        for refund in refunds:
            self._requeue(lease, delay_s=0, refund=refund, ticket=False)
            self.check()
            if not entry.waits:
                return
            self._claim(entry.job.spec.model, lease.job_id, self.ledger.owners[lease], "again")
            self.check()
            lease = Lease(lease.job_id, entry.attempt)

    def _requeue(self, lease: Lease, *, delay_s: float, refund: bool, ticket: bool) -> None:
        error = an_error(f"tried_{lease.attempt}")
        pushed = self.backend.ticket if ticket else None
        status = self.store.requeue(lease, error, delay_s=delay_s, refund=refund, ticket=pushed)
        assert status is self.ledger.requeue(lease, error, delay_s, refund, ticket and not delay_s)

    @IF_HELD
    @rule(lease=A_HELD_LEASE)
    def crash(self, lease: Lease) -> None:
        self._lose(lease)
        self.ledger.leases.remove(lease)

    @IF_HELD
    @rule(lease=A_HELD_LEASE, worker=A_WORKER, ticket=A_TICKET)
    def hang(self, lease: Lease, worker: str, ticket: str) -> None:
        """Like a crash, but once another has the job, the worker comes back with its lease."""
        self._lose(lease)
        self.check()
        entry = self.ledger.entries[lease.job_id]
        self._claim(entry.job.spec.model, lease.job_id, worker, ticket)

    def _lose(self, lease: Lease) -> None:
        """A lease runs out while the others are renewed, and the job is rescued."""
        self.pass_time(1)
        for other in self.ledger.held():
            if other != lease:
                assert self.store.renew(other) is self.ledger.renew(other, None) is not Signal.LOST
        self.rescue(0)
        assert lease not in self.ledger.held()

    # Couriers and time

    @IF_TIME_COUNTS
    @rule(rounds=st.integers(1, 2))
    def pass_time(self, rounds: int) -> None:
        self.backend.advance(rounds * ROUND_S)
        self.ledger.now_s += rounds * ROUND_S

    @IF_RESTLESS
    @rule(rounds=st.integers(0, 2))
    def rescue(self, rounds: int) -> None:
        self.pass_time(rounds)
        assert self.store.rescue() == self.ledger.rescue()

    @IF_SPENT
    @rule()
    def sweep(self) -> None:
        for job_id in self.store.spent(100):
            self.delete(job_id)
        assert not self.ledger.spent()

    @IF_OUTBOX
    @rule(limit=st.integers(1, 8))
    def deliver(self, limit: int) -> None:
        due = self.ledger.due()
        got = self.store.due_deliveries(limit, HOLD_S)
        assert len({delivery.id for delivery in got}) == len(got) == min(limit, len(due))
        for delivery in got:
            assert delivery.id in due
            assert delivery == self.ledger.hand_out(delivery.id, HOLD_S)

    @IF_IN_HAND
    @rule(delivery=A_DELIVERY)
    def hold(self, delivery: Delivery) -> None:
        assert self.store.hold(delivery, HOLD_S) == self.ledger.hold(delivery, HOLD_S)

    @IF_IN_HAND
    @rule(delivery=A_DELIVERY, verdict=A_VERDICT)
    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        self.store.settle(delivery, verdict)
        self.ledger.settle(delivery, verdict)

    @IF_DELIVERIES
    @rule(name=A_DELIVERY_ID)
    def redeliver(self, name: str) -> None:
        assert self.store.redeliver(self.ledger.redeliver(name), name).delivery.tries == 0

    @IF_IN_HAND
    @rule(delivery=A_DELIVERY)
    def courier_dies(self, delivery: Delivery) -> None:
        """What it had in hand goes to another, unless it was settled or has its next try later."""
        self.ledger.hands.remove(delivery)
        self.pass_time(1)
        self.deliver(limit=len(self.ledger.pending) or 1)

    @invariant()
    def store_agrees(self) -> None:
        self.check()

    def check(self) -> None:
        """What must hold after every step and between the verbs of a long one."""
        records = check_records(self.store, self.ledger)
        self.walked.update(moves(self.records, records))
        self.records = records
        check_queues(self.store, self.ledger, MODELS)
        assert sorted(self.store.spent(100)) == sorted(self.ledger.spent())
        check_deliveries(self.backend, self.ledger)
        assert self.backend.pushed() == self.ledger.pushed
