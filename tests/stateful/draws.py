"""What the rules of the machine are drawn from: requests, workers, and jobs and leases in use."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from lorajobs.jobs import JobError, JobStatus, Lease, Outcome, Stage
from lorajobs.outbox import Delivery, DeliveryStatus, Verdict
from lorajobs.spec import AdapterUse, Webhook
from lorajobs.store import Progress
from tests.jobs import a_spec, an_output, use
from tests.stateful.ledger import Entry, Ledger

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

MODELS = ("demo", "sdxl", "flux")
GROUPS: tuple[tuple[AdapterUse, ...], ...] = (
    (),
    (use("pixel", 0.5),),
    (use("pixel", 1.0),),
    (use("soft3d"), use("pixel", 0.5)),
)
HOOKS = (
    Webhook(url="https://receiver.example/hook"),
    Webhook(url="https://other.example:8443/", events=("started", "succeeded")),
)
A_MODEL = st.sampled_from(MODELS)
A_SPEC = st.builds(
    a_spec,
    model=A_MODEL,
    loras=st.sampled_from(GROUPS),
    webhook=st.sampled_from((None, *HOOKS)),
    priority=st.sampled_from(("normal", "low", "high")),
    owner=st.sampled_from(("", "anna", "ben")),
    start_deadline_s=st.sampled_from((None, None, 150)),
)
#: Each with the first letter of its id, so that ids sort otherwise than the submits, from which
#: alone the order of a queue comes.
SOME_REQUESTS = st.lists(st.tuples(st.sampled_from("ab"), A_SPEC), min_size=1, max_size=4)
A_WORKER = st.sampled_from(("w1", "w2", "w3"))
#: Few, so that one is used again, as after a lost reply.
A_TICKET = st.sampled_from(("t1", "t2", "t3"))
DELAY_S = 150
A_VERDICT = st.sampled_from(
    (
        Verdict("204", DeliveryStatus.DELIVERED),
        Verdict("410", DeliveryStatus.FAILED),
        Verdict("500", DeliveryStatus.PENDING, 0),
        Verdict("500", DeliveryStatus.PENDING, DELAY_S),
    )
)
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


AN_END = st.sampled_from(
    (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)
)


def some(*pools: Callable[[Ledger], Collection[T]]) -> st.SearchStrategy[T]:
    """Something from the machine's ledger, from each pool as often; one may be empty, not all."""

    def draw(ledger: Ledger) -> st.SearchStrategy[T]:
        return st.one_of(*(st.sampled_from(list(p)) for pool in pools if (p := pool(ledger))))

    return st.runner().flatmap(lambda machine: draw(machine.ledger))


def _of(ledger: Ledger, wanted: Callable[[Entry], bool]) -> list[str]:
    return [job_id for job_id, entry in ledger.entries.items() if wanted(entry)]


def _waiting(ledger: Ledger) -> Collection[str]:
    return _of(ledger, lambda entry: entry.waits)


def _live(ledger: Ledger) -> Collection[str]:
    return _of(ledger, lambda entry: not entry.status.is_terminal)


def _ended(ledger: Ledger) -> Collection[str]:
    return _of(ledger, lambda entry: entry.status.is_terminal)


def _restless(ledger: Ledger) -> Collection[str]:
    return _of(ledger, lambda entry: entry.due_s is not None and not entry.status.is_terminal)


def _known(ledger: Ledger) -> Collection[str]:
    return ledger.entries


def _ids(ledger: Ledger) -> Collection[str]:
    return ledger.ids


def _leases(ledger: Ledger) -> Collection[Lease]:
    return ledger.leases


def _hands(ledger: Ledger) -> Collection[Delivery]:
    return ledger.hands


def _delivery_ids(ledger: Ledger) -> Collection[str]:
    return ledger.hooks


# Mostly those that a verb is for, else nearly every step would change nothing.
A_KNOWN_JOB = some(_known)
A_WAITING_JOB = some(_waiting)
A_LIVE_JOB = some(_live, _live, _ids)
AN_ENDED_JOB = some(_ended, _ended, _ids)
A_HELD_LEASE = some(Ledger.held)
A_LEASE = some(Ledger.held, Ledger.held, Ledger.zombies, _leases)
A_DELIVERY = some(_hands)
A_DELIVERY_ID = some(_delivery_ids)


def when(wanted: Callable[[Ledger], object]) -> Callable[[F], F]:
    """Makes a rule one of those to choose from only while the machine's ledger has such."""
    return precondition(lambda machine: bool(wanted(machine.ledger)))


IF_KNOWN = when(_known)
IF_LIVE = when(_live)
IF_FEW_LIVE = when(lambda ledger: len(_live(ledger)) < 6)
IF_ENDED = when(_ended)
IF_WAITING = when(_waiting)
IF_HELD = when(Ledger.held)
IF_LEASES = when(lambda ledger: ledger.held() or ledger.zombies())
IF_IN_HAND = when(_hands)
IF_OUTBOX = when(lambda ledger: ledger.pending)
IF_DELIVERIES = when(_delivery_ids)
IF_SPENT = when(Ledger.spent)
IF_RESTLESS = when(_restless)
IF_TIME_COUNTS = when(lambda ledger: _restless(ledger) or _ended(ledger))
