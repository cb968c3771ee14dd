"""Which waiting job a worker takes next: pure, from a snapshot of its queue."""

from lorajobs.store import Snapshot


def choose(snapshot: Snapshot) -> str | None:
    """The oldest waiting job's id, None if nothing waits."""
    return snapshot.waiting[0].id if snapshot.waiting else None
