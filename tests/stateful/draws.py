"""What the rules of the machine are drawn from: requests, workers, and jobs and leases in use."""

from collections.abc import Callable, Collection
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from lorajobs.jobs import AdapterUse, JobError, JobStatus, Lease, Outcome, Stage, Webhook
from lorajobs.store import Progress
from tests.jobs import a_spec, an_output, use
from tests.stateful.ledger import Ledger

T = TypeVar("T")

MODELS = ("demo", "sdxl", "flux")
GROUPS: tuple[tuple[AdapterUse, ...], ...] = (
    (),
    (use("pixel", 0.5),),
    (use("pixel", 1.0),),
    (use("soft3d"), use("pixel", 0.5)),
)
HOOK = Webhook(url="https://receiver.example/hook")
A_MODEL = st.sampled_from(MODELS)
A_SPEC = st.builds(
    a_spec,
    model=A_MODEL,
    loras=st.sampled_from(GROUPS),
    webhook=st.sampled_from((None, HOOK)),
    priority=st.sampled_from(("normal", "low", "high")),
    start_deadline_s=st.sampled_from((None, None, 150)),
)
#: Each with the first letter of its id, so that ids sort otherwise than the submits, from which
#: alone the order of a queue comes.
SOME_REQUESTS = st.lists(st.tuples(st.sampled_from("ab"), A_SPEC), min_size=1, max_size=4)
A_WORKER = st.sampled_from(("w1", "w2", "w3"))
#: Few, so that one is used again, as after a lost reply.
A_TICKET = st.sampled_from(("t1", "t2", "t3"))
PROGRESS = st.builds(Progress, st.sampled_from(Stage), st.integers(0, 4), st.just(4))


def an_error(code: str) -> JobError:
    """An error that differs from others by its code."""
    return JobError(code=code, title="t", detail="d", retryable=True)


def outcomes(lease: Lease) -> dict[JobStatus, Outcome]:
    """How this attempt may end, with what no other attempt makes."""
    picture = an_output(key=f"jobs/{lease.job_id}/{lease.attempt}/0.png")
    return {
        JobStatus.SUCCEEDED: Outcome(status=JobStatus.SUCCEEDED, outputs=(picture,)),
        JobStatus.FAILED: Outcome(
            status=JobStatus.FAILED, error=an_error(f"refused_{lease.attempt}")
        ),
        JobStatus.CANCELED: Outcome(status=JobStatus.CANCELED),
    }


AN_END = st.sampled_from(tuple(outcomes(Lease("", 0))))


def some(*pools: Callable[[Ledger], Collection[T]]) -> st.SearchStrategy[T]:
    """Something from the machine's ledger, from each pool as often; one may be empty, not all."""

    def draw(ledger: Ledger) -> st.SearchStrategy[T]:
        return st.one_of(*(st.sampled_from(list(p)) for pool in pools if (p := pool(ledger))))

    return st.runner().flatmap(lambda machine: draw(machine.ledger))


def _waiting(ledger: Ledger) -> Collection[str]:
    return [job_id for job_id, entry in ledger.entries.items() if entry.waits]


def _ended(ledger: Ledger) -> Collection[str]:
    return [i for i, entry in ledger.entries.items() if entry.status.is_terminal]


def _ids(ledger: Ledger) -> Collection[str]:
    return ledger.ids


def _restless(ledger: Ledger) -> bool:
    entries = ledger.entries.values()
    return any(e.due_s is not None and not e.status.is_terminal for e in entries)


def _leases(ledger: Ledger) -> Collection[Lease]:
    return ledger.leases


# Mostly those that a verb is for, else nearly every step would change nothing.
A_JOB = some(_ids)
A_KNOWN_JOB = some(lambda ledger: ledger.entries)
A_WAITING_JOB = some(_waiting)
AN_ENDED_JOB = some(_ended, _ended, _ids)
A_HELD_LEASE = some(Ledger.held)
A_LEASE = some(Ledger.held, Ledger.held, Ledger.zombies, _leases)
A_DELIVERY = some(lambda ledger: ledger.hands)

IF_JOBS = precondition(lambda machine: machine.ledger.ids)
IF_KNOWN = precondition(lambda machine: machine.ledger.entries)
IF_FEW_LIVE = precondition(
    lambda machine: len(machine.ledger.entries) - len(_ended(machine.ledger)) < 6
)
IF_WAITING = precondition(lambda machine: _waiting(machine.ledger))
IF_LEASES = precondition(lambda machine: machine.ledger.leases)
IF_HELD = precondition(lambda machine: machine.ledger.held())
IF_IN_HAND = precondition(lambda machine: machine.ledger.hands)
IF_SPENT = precondition(lambda machine: machine.ledger.spent())
IF_RESTLESS = precondition(lambda machine: _restless(machine.ledger))
IF_TIME_COUNTS = precondition(lambda machine: _restless(machine.ledger) or _ended(machine.ledger))
