"""A base goes after so long without a job, and never under one."""

import threading

import pytest

from lorajobs.engine.base import DeviceFault
from lorajobs.errors import EngineFailed
from lorajobs.idling import Unloader
from lorajobs.testing import ManualClock


class Base:
    """Loaded until it is told to go."""

    def __init__(self) -> None:
        self.uses = 1
        self.is_loaded = True
        self.error: Exception | None = None

    def unload(self) -> str:
        if self.error:
            raise self.error
        was, self.is_loaded = self.is_loaded, False
        return "parked" if was else ""


class Idle:
    """A base whose unloader goes by a clock that the test turns."""

    def __init__(self) -> None:
        self.base, self.busy, self._clock = Base(), threading.Lock(), ManualClock()
        self.ends: list[bool] = []

        def end() -> None:
            self.ends.append(self.busy.locked())

        self._unloader = Unloader(self.base, self.busy, 60, end, lambda: self._clock() / 1000)

    def after(self, seconds: float) -> bool:
        """True if the look after so many seconds unloads the base."""
        self._clock.advance(seconds)
        return self._unloader.look()


@pytest.fixture
def idle() -> Idle:
    return Idle()


def test_an_idle_base_goes_once_and_that_is_said(
    idle: Idle, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert [idle.after(40), idle.after(20), idle.after(60)] == [False, True, False]
    assert not idle.base.is_loaded
    assert not idle.busy.locked()
    assert caplog.messages == ["60 s without a job: the base is parked, its GPU free"]


def test_a_running_job_keeps_it_and_the_time_counts_from_its_end(idle: Idle) -> None:
    with idle.busy:
        assert not idle.after(100)
    assert [idle.after(59), idle.after(1)] == [False, True]


def test_a_job_between_two_looks_keeps_it_too(idle: Idle) -> None:
    assert not idle.after(50)
    idle.base.uses += 1
    assert [idle.after(15), idle.after(59), idle.after(1)] == [False, False, True]


def test_a_base_that_was_loaded_again_goes_again(idle: Idle) -> None:
    assert idle.after(60)
    idle.base.uses, idle.base.is_loaded = 2, True
    assert [idle.after(30), idle.after(60)] == [False, True]


def test_a_child_whose_device_failed_ends_before_a_job_finds_that_out(
    idle: Idle, caplog: pytest.LogCaptureFixture
) -> None:
    idle.base.error = DeviceFault("CUDA error: an illegal memory access was encountered")
    assert not idle.after(60)
    assert idle.ends == [True]
    assert "illegal memory access" in caplog.text


def test_a_base_that_does_not_go_is_tried_again(
    idle: Idle, caplog: pytest.LogCaptureFixture
) -> None:
    idle.base.error = EngineFailed("shapes differ")
    assert not idle.after(60)
    assert not idle.ends
    assert not idle.busy.locked()
    assert "shapes differ" in caplog.text
    idle.base.error = None
    assert idle.after(15)
