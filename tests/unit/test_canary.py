"""An idle worker's look at its weights."""

import threading

import pytest

from lorajobs.canary import Canary
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


def watch(weights: Weights) -> tuple[Canary, threading.Lock, list[bool]]:
    """A canary, the lock that a job holds, and whether the lock was held at each end."""
    busy, ends = threading.Lock(), list[bool]()
    return Canary(weights, busy, 60, lambda: ends.append(busy.locked())), busy, ends


def test_sound_weights_are_left_alone() -> None:
    weights = Weights()
    canary, busy, ends = watch(weights)
    assert canary.look()
    assert (weights.looks, ends, busy.locked()) == (1, [], False)


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
    canary, _, ends = watch(weights)
    assert not canary.look()
    assert ends == [True]
    assert "unet.0" in caplog.text


def test_a_look_that_fails_for_another_reason_ends_nothing() -> None:
    weights = Weights()
    weights.error = OutOfMemory("no room")
    canary, busy, ends = watch(weights)
    assert not canary.look()
    assert (ends, busy.locked()) == ([], False)
