"""The store's answers agree with the ledger, and with what holds whatever any ledger says."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lorajobs.job_page import JobFilter
from lorajobs.jobs import TRANSITIONS, Job, JobStatus
from tests.backends import Backend, Store
from tests.stateful.ledger import Entry, Ledger

Move = tuple[JobStatus, JobStatus]


def check_records(store: Store, ledger: Ledger) -> Mapping[str, Job]:
    """Every record is listed once, newest first, and says what it must; returns them by id."""
    page = store.page(JobFilter(), len(ledger.entries) + 1, None)
    assert page.cursor is None
    newest_first = sorted(page.jobs, key=lambda job: (job.created_ms, job.id), reverse=True)
    assert list(page.jobs) == newest_first
    records = {job.id: job for job in page.jobs}
    assert len(records) == len(page.jobs)
    assert {job_id: _fields(job) for job_id, job in records.items()} == {
        job_id: entry.fields() for job_id, entry in ledger.entries.items()
    }
    return records


def _fields(job: Job) -> dict[str, object]:
    names = ("spec", "created_ms", "status", "attempt", "worker", "cancel_requested")
    error = job.error.code if job.error else None
    return {
        **{name: getattr(job, name) for name in names},
        **{"stage": job.stage, "step": job.step, "error": error, "outputs": job.outputs},
    }


def moves(before: Mapping[str, Job], after: Mapping[str, Job]) -> Iterator[Move]:
    """What one step changed: only by the table, no attempt undone, and no end at all."""
    for job_id in before.keys() & after.keys():
        old, new = before[job_id], after[job_id]
        assert new == old or not old.status.is_terminal
        assert new.attempt - old.attempt in (0, 1)
        if new.status is not old.status:
            assert new.status in TRANSITIONS[old.status]
            yield old.status, new.status


def check_deliveries(backend: Backend, ledger: Ledger) -> None:
    """The outbox has all that is pending, and the log of each job tells of all its webhooks."""
    assert backend.outbox() == ledger.pending.keys()
    for job_id in ledger.entries:
        told = {
            r.delivery.id: (r.status, r.delivery.tries) for r in backend.store.deliveries(job_id)
        }
        assert told == ledger.deliveries(job_id)


def check_queues(store: Store, ledger: Ledger, models: Sequence[str]) -> None:
    """Every queue has its lines, each in order and in groups, and each job knows its place."""
    # From the submits of one priority half the way to those of the next.
    window_us = int(ledger.rules.head_start_s * 1_000_000 / 2)
    backlog = store.backlog()
    for model in models:
        queue = ledger.waiting(model)
        assert backlog.get(model, 0) == len(queue)
        sizes = Counter(entry.job.spec.group for entry in queue)
        turns = store.snapshot(model).turns
        assert [turn.owner for turn in turns] == ledger.turns(model)
        for turn in turns:
            line = ledger.line(model, turn.owner)
            heads: dict[str, Entry] = {}
            for entry in line:
                heads.setdefault(entry.job.spec.group, entry)
            # Two of one priority may have been submitted in the same moment.
            assert sorted((g.oldest.group, g.oldest.id, g.waiting) for g in turn.groups) == sorted(
                (group, head.job.id, sizes[group]) for group, head in heads.items()
            )
            assert turn.had == ledger.had(model, turn.owner)
            assert (turn.loaded.id if turn.loaded else None) == (
                heads[""].job.id if "" in heads else None
            )
    for entry in ledger.entries.values():
        if entry.status.is_terminal:
            continue
        place = store.place(entry.job.id, window_us)
        assert (place and place[:3]) == _place(entry, ledger)


def _place(entry: Entry, ledger: Ledger) -> tuple[int, int, bool] | None:
    if entry.status is not JobStatus.QUEUED:
        return None
    model, owner = entry.job.spec.model, entry.job.spec.owner
    queue = ledger.waiting(model)
    if entry.delayed:
        return len(queue), len(queue), True
    line, turns = ledger.line(model, owner), ledger.turns(model)
    others, keys, rank = len(queue) - len(line), len(turns) - 1, line.index(entry)
    own = sum(ledger.rank(other) <= ledger.rank(entry) for other in line) - 1
    before = min(others, keys * rank + turns.index(owner))
    # No run lasts as long as half a head start.
    window_is_open = entry.job.spec.priority != "high"
    passing = others if window_is_open else min(others, keys * (own + 2))
    return rank + before, own + passing, False
