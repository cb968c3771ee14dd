"""The renewal thread outlives whatever its rounds meet."""

import threading
from collections.abc import Callable

import pytest

from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Lease
from lorajobs.renewal import LeaseRenewal
from lorajobs.store import Progress, Signal
from lorajobs.testing import MemoryJobStore


class Troubled(MemoryJobStore):
    """A store whose first renewals fail in one way after another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.troubles: list[Exception] = [StoreUnavailable("down"), ValueError("BUSY script")]
        self.renewed = threading.Event()

    def renew(self, lease: Lease, progress: Progress | None = None) -> Signal:
        if self.troubles:
            raise self.troubles.pop(0)
        self.renewed.set()
        return Signal.CANCEL


def _renewal(
    store: Troubled, asked: Callable[[Lease], None], look: Callable[[], None] = lambda: None
) -> LeaseRenewal:
    return LeaseRenewal(store, lambda: [Lease("job", 1)], asked, look, period_s=0.01)


def test_errors_do_not_end_it_and_a_cancellation_is_passed_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Troubled()
    asked: list[Lease] = []
    renewal = _renewal(store, asked.append)
    renewal.start()
    assert store.renewed.wait(10)
    renewal.stop()
    assert asked[0] == Lease("job", 1)
    assert "leases not renewed" in caplog.text
    assert "BUSY script" in caplog.text


def test_a_look_that_fails_costs_no_lease() -> None:
    def look() -> None:
        raise StoreUnavailable("the rescue found no broker")

    store = Troubled()
    renewal = _renewal(store, lambda lease: None, look)
    renewal.start()
    assert store.renewed.wait(10)
    renewal.stop()
