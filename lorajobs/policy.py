"""Which waiting job a worker takes next: pure, from a snapshot of its queue.

Only jobs submitted at most the window after the oldest waiting job are ever taken, so a job can
be overtaken only by jobs that were submitted within the window after it.
"""

from collections.abc import Callable

from lorajobs.store import Snapshot, WaitingGroup, WaitingJob


def choose(
    snapshot: Snapshot, window_us: int, is_here: Callable[[str], bool] = lambda group: True
) -> WaitingJob | None:
    """The job to claim, None if nothing waits.

    The oldest job that needs what is applied; else, since a swap is due, the oldest of the group
    with the most waiting jobs that no other worker has applied. Groups whose adapters `is_here`
    says are on this machine come before those that are not.
    """
    if not snapshot.waiting:
        return None
    newest = snapshot.waiting[0].score_us + window_us
    loaded = snapshot.loaded
    if loaded is not None and loaded.score_us <= newest:
        return loaded
    groups = [group for group in snapshot.groups if group.oldest.score_us <= newest]
    ready = [group for group in groups if is_here(group.oldest.group)] or groups
    free = [group for group in ready if not group.elsewhere]
    return max(free, key=_worth).oldest if free else _oldest(ready)


def _worth(group: WaitingGroup) -> tuple[int, int]:
    # Of equal ones the older.
    return group.waiting, -group.oldest.score_us


def _oldest(groups: list[WaitingGroup]) -> WaitingJob:
    return min((group.oldest for group in groups), key=lambda job: job.score_us)
