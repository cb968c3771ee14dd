"""The simulated disk keeps what waits, as the real one does."""

from bench.disk import Disk
from lorajobs.adapters.disk_tier import KEEP_S

LATER_MS = int(KEEP_S * 1000)


def test_what_a_waiting_job_needs_stays() -> None:
    disk = Disk(capacity=2, download_ms=100)
    for adapter in ("a", "a", "b"):
        disk.use(adapter)
    assert disk.order("b", 0) is None
    assert disk.order("c", 0) == 100
    disk.use("c")
    assert [disk.has(name) for name in "abc"] == [False, True, True]
    assert disk.order("d", LATER_MS) == LATER_MS + 100
    disk.use("d")
    assert [disk.has(name) for name in "bcd"] == [False, True, True]


def test_what_came_ahead_was_not_used_yet() -> None:
    disk = Disk(capacity=2, download_ms=100)
    disk.use("a")
    disk.use("a")
    disk.order("b", 0)
    disk.use("b")
    disk.use("b")
    disk.order("c", LATER_MS)
    disk.use("c")
    assert [disk.has(name) for name in "abc"] == [True, False, True]
