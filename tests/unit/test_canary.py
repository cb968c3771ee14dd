"""An idle worker's look at its weights."""

import threading

import pytest

from lorajobs.canary import Canary
from lorajobs.engine.base import DeviceFault
from lorajobs.errors import BaseCorrupt, OutOfMemory


class Weights:
    """Sound until told otherwise."""

    def __init__(self) -> None:
        self.looks = 0
        self.error: Exception | None = None

    def check(self) -> None:
        """Raises what it was told to."""
        self.looks += 1
        if self.error:
            raise self.error


def watch(weights: Weights) -> tuple[Canary, threading.Lock, list[object]]:
    """A canary, the lock that a job holds, and what it told.

    At its end that is whether the lock was held.
    """
    busy, told = threading.Lock(), list[object]()
    return Canary(weights, busy, 60, lambda: told.append(busy.locked()), told.append), busy, told


def test_sound_weights_are_left_alone() -> None:
    weights = Weights()
    canary, busy, told = watch(weights)
    assert canary.look()
    assert (weights.looks, told, busy.locked()) == (1, ["sound"], False)


def test_it_does_not_look_while_a_job_runs() -> None:
    weights = Weights()
    canary, busy, _ = watch(weights)
    with busy:
        assert not canary.look()
    assert weights.looks == 0


def test_damaged_weights_end_the_process_before_another_job_can_begin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    weights = Weights()
    weights.error = BaseCorrupt("unet.0 is not the base with its adapters")
    canary, _, told = watch(weights)
    assert not canary.look()
    # Told first: nothing comes after the end.
    assert told == ["corrupt", True]
    assert "unet.0" in caplog.text


def test_a_lost_device_ends_the_process_too() -> None:
    weights = Weights()
    weights.error = DeviceFault("CUDA error: an illegal memory access was encountered")
    canary, _, told = watch(weights)
    assert not canary.look()
    assert told == ["failed", True]


def test_a_look_that_fails_for_another_reason_ends_nothing() -> None:
    weights = Weights()
    weights.error = OutOfMemory("no room")
    canary, busy, told = watch(weights)
    assert not canary.look()
    assert (told, busy.locked()) == (["failed"], False)
