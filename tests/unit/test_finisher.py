"""What ends beside the next job: a few at a time, each with its lease kept alive."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lorajobs.engine.base import DeviceFault
from lorajobs.errors import StoreUnavailable
from lorajobs.finisher import Finisher
from lorajobs.jobs import Lease
from lorajobs.store import Progress, Signal
from lorajobs.testing import MemoryJobStore

WAIT_S = 30.0
ONE, TWO, THREE = (Lease(name, 1) for name in ("one", "two", "three"))


class Renewals(MemoryJobStore):
    """Counts renewals, and lets a test wait for them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seen: list[Lease] = []
        self.failures = 0
        self._came = threading.Condition()

    def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
        with self._came:
            self.seen.append(lease)
            self._came.notify_all()
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("away")
        return Signal.GO_ON

    def wait_for(self, lease: Lease, times: int) -> bool:
        with self._came:
            return self._came.wait_for(lambda: self.seen.count(lease) >= times, WAIT_S)


@pytest.fixture
def store() -> Renewals:
    return Renewals()


@contextmanager
def finisher(store: Renewals, depth: int = 2, patience_s: float = 60) -> Iterator[Finisher]:
    made = Finisher(store, depth, renew_s=0.001, patience_s=patience_s)
    try:
        yield made
    finally:
        made.close()


class Work:
    """Lasts until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def __call__(self) -> None:
        self.begun.set()
        assert self.may_end.wait(WAIT_S)
        self.ended = True


def in_thread(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_a_lease_is_renewed_while_its_attempt_ends(store: Renewals) -> None:
    work = Work()
    with finisher(store) as made:
        made.take(ONE, work)
        assert store.wait_for(ONE, 3)
        work.may_end.set()
    assert work.ended


def test_an_outage_costs_no_renewal_after_it(store: Renewals) -> None:
    work = Work()
    store.failures = 2
    with finisher(store) as made:
        made.take(ONE, work)
        assert store.wait_for(ONE, 4)
        work.may_end.set()


def test_who_takes_too_long_loses_the_lease(store: Renewals) -> None:
    work, other = Work(), Work()
    with finisher(store, patience_s=0) as made:
        made.take(ONE, work)
        assert work.begun.wait(WAIT_S)
        made.take(TWO, other)
        work.may_end.set()
        other.may_end.set()
    assert store.seen == []


def test_no_more_than_its_depth_end_at_a_time(store: Renewals) -> None:
    first, second, third = Work(), Work(), Work()
    with finisher(store) as made:
        made.take(ONE, first)
        made.take(TWO, second)
        assert first.begun.wait(WAIT_S)
        assert second.begun.wait(WAIT_S)
        taking = in_thread(lambda: made.take(THREE, third))
        assert store.wait_for(TWO, 2)
        assert THREE not in store.seen
        assert taking.is_alive()
        first.may_end.set()
        taking.join(WAIT_S)
        assert third.begun.wait(WAIT_S)
        second.may_end.set()
        third.may_end.set()


def test_an_end_that_fails_frees_its_place(store: Renewals) -> None:
    def fail() -> None:
        raise ValueError("unforeseen")

    work = Work()
    work.may_end.set()
    with finisher(store, depth=1) as made:
        made.take(ONE, fail)
        made.take(TWO, work)
    assert work.ended


def test_a_fault_of_the_device_ends_the_process_once_the_others_are_done(store: Renewals) -> None:
    def fault() -> None:
        raise DeviceFault("an illegal memory access")

    work, ended = Work(), threading.Event()
    done: list[bool] = []

    def end(_: int) -> None:
        done.append(work.ended)
        ended.set()

    made = Finisher(store, 2, renew_s=0.001, patience_s=60, end=end)
    made.take(ONE, work)
    made.take(TWO, fault)
    assert work.begun.wait(WAIT_S)
    assert not ended.is_set()
    work.may_end.set()
    assert ended.wait(WAIT_S)
    assert done == [True]


def test_closing_waits_for_all_that_was_taken(store: Renewals) -> None:
    works = [Work(), Work()]
    made = Finisher(store, 2, renew_s=0.001, patience_s=60)
    for lease, work in zip((ONE, TWO), works, strict=True):
        made.take(lease, work)
    closing = in_thread(made.close)
    for work in works:
        work.may_end.set()
    closing.join(WAIT_S)
    assert all(work.ended for work in works)
