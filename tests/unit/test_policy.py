"""Oldest first."""

from lorajobs.policy import choose
from lorajobs.store import Snapshot, WaitingJob


def test_the_oldest_job_is_chosen() -> None:
    waiting = [WaitingJob("old", 1, ()), WaitingJob("young", 2, ("a@1",))]
    assert choose(Snapshot(waiting, 3)) == "old"


def test_nothing_waits() -> None:
    assert choose(Snapshot([], 3)) is None
