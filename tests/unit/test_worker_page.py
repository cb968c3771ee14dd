"""The page that a parent and its forked child share."""

import os

import pytest

from lorajobs.jobs import AppliedLora, Lease
from lorajobs.worker_page import WorkerPage

LOADED = [AppliedLora(id="pixel", revision="r", sha256="s", scale=0.5)]


def _in_child(page: WorkerPage) -> int:
    """Forks as billiard does; the child writes and is gone; returns its process id."""
    pid = os.fork()
    if pid == 0:
        page.say_loaded(LOADED)
        page.say_ready()
        page.say_failed("ü" * 10_000)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_the_parent_reads_what_a_child_wrote() -> None:
    page = WorkerPage()
    assert not page.is_ready({os.getpid()})
    assert (page.loaded(), page.failure()) == ((), "")
    child = _in_child(page)
    assert page.is_ready({child, 1})
    assert list(page.loaded()) == LOADED
    assert page.failure().startswith("üü")


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_replaced_child_is_not_ready() -> None:
    page = WorkerPage()
    child = _in_child(page)
    assert not page.is_ready({child + 1})


def test_a_base_is_said_with_the_place_of_its_weights() -> None:
    page = WorkerPage()
    assert (page.base(), page.placement()) == ("", "")
    page.say_base("demo", 2.0, "host")
    assert (page.base(), page.placement(), page.load_s("demo")) == ("demo", "host", 2.0)
    page.say_base("", 0.0)
    assert (page.base(), page.placement()) == ("", "")


def test_a_parked_base_takes_as_long_to_come_as_it_last_did() -> None:
    page = WorkerPage()
    page.say_base("a", 12.0)
    page.say_base("", 0.0, "", ["a"])
    page.say_base("b", 10.0, "gpu", ["a"])
    assert page.parked() == ["a"]
    # Unlike one from the disk: nobody knows yet, but it is soon.
    assert page.load_s("a") < 10
    page.say_base("", 0.0, "", ["a", "b"])
    page.say_base("a", 0.14, "gpu", ["b"])
    assert (page.load_s("b"), page.load_s("c")) == (0.14, 12.0)
    # Its host memory went to another.
    page.say_base("c", 11.0, "gpu", [])
    assert page.load_s("b") == 10.0
    page.say_base("c", 11.0, "gpu", ["b"])
    page.say_none_parked()
    assert (page.base(), list(page.parked()), page.load_s("b")) == ("c", [], 10.0)


def test_a_cancellation_is_for_one_attempt() -> None:
    page = WorkerPage()
    page.ask_cancel(Lease("job", 1))
    assert page.cancel_asked(Lease("job", 1))
    assert not page.cancel_asked(Lease("job", 2))
    assert not page.cancel_asked(Lease("other", 1))


def test_a_shutdown_has_one_grace_that_a_second_signal_does_not_renew() -> None:
    page = WorkerPage()
    assert not page.is_stopping()
    assert not page.must_stop()
    page.ask_stop(0)
    page.ask_stop(600)
    assert page.is_stopping()
    assert page.must_stop()
    assert not page.must_stop(late_s=600)


def test_a_worker_stops_only_after_the_grace() -> None:
    page = WorkerPage()
    page.ask_stop(600)
    assert page.is_stopping()
    assert not page.must_stop()


def test_a_value_that_is_too_long_is_refused() -> None:
    many = LOADED * 2000
    with pytest.raises(ValueError, match="a slot holds"):
        WorkerPage().say_loaded(many)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_reader_never_sees_half_of_a_value() -> None:
    page = WorkerPage()
    short, long = LOADED, LOADED * 40
    page.say_loaded(short)
    pid = os.fork()
    if pid == 0:
        for _ in range(5_000):
            page.say_loaded(long)
            page.say_loaded(short)
        os._exit(0)
    lengths = set()
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        lengths.add(len(page.loaded()))
    assert lengths <= {1, 40}


def test_a_promise_that_is_not_kept_is_overdue() -> None:
    page = WorkerPage()
    assert not page.is_overdue()
    page.say_alive(60)
    assert not page.is_overdue()
    page.say_alive(-1)
    assert page.is_overdue()
    page.say_alive(float("inf"))
    assert not page.is_overdue()
