"""Which waiting job a worker takes next: pure, from a snapshot of its queue.

API keys take turns. Among the keys whose turn it is, only jobs submitted at most the window after
a key's oldest job are ever taken, so a job can be overtaken by its own key's only if they were
submitted within the window after it, and by another key's once for each turn of its own.
"""

from collections.abc import Callable, Sequence

from lorajobs.snapshot import Snapshot, Turn, WaitingGroup, WaitingJob

#: Seconds that it takes to apply a group's adapters here, None while they are on their way.
SwapCost = Callable[[str], float | None]


def choose(
    snapshot: Snapshot, window_us: int, cost_s: SwapCost = lambda group: 0.0
) -> WaitingJob | None:
    """The job to claim, None if nothing waits.

    The oldest job that needs what is applied; else, since a swap is due, the oldest of the group
    with the most waiting jobs that no other worker has applied, of equal ones the cheaper to apply.
    Jobs whose adapters are on this machine come before all others.
    """
    here = [turn for turn in map(_only_here(cost_s), snapshot.turns) if turn.groups]
    turns = [_open(turn, window_us) for turn in _due(here or snapshot.turns, window_us)]
    loaded = [turn.loaded for turn in turns if turn.loaded]
    if loaded:
        return min(loaded, key=_age)
    groups = [group for turn in turns for group in turn.groups]
    free = [group for group in groups if not group.elsewhere]
    if free:
        return max(free, key=_worth(cost_s)).oldest
    return min((group.oldest for group in groups), key=_age, default=None)


def _only_here(cost_s: SwapCost) -> Callable[[Turn], Turn]:
    def cut(turn: Turn) -> Turn:
        applied = turn.loaded.group if turn.loaded else None
        names = [group.oldest.group for group in turn.groups]
        here = {name for name in names if name == applied or cost_s(name) is not None}
        return turn._replace(groups=[g for g in turn.groups if g.oldest.group in here])

    return cut


def _due(turns: Sequence[Turn], window_us: int) -> Sequence[Turn]:
    """The keys whose turn it is: in any order within a round, which the key begins that waits most.

    Only keys that wait as long as the first, but for the window, so that a priority counts.
    """
    if not turns:
        return ()
    first = min(turns, key=lambda turn: turn.since_us)
    now = [turn for turn in turns if turn.since_us <= first.since_us + window_us]
    return [turn for turn in now if not turn.had] or [first]


def _open(turn: Turn, window_us: int) -> Turn:
    """The turn without the jobs that are younger than the window."""
    newest = turn.groups[0].oldest.score_us + window_us
    loaded = turn.loaded if turn.loaded and turn.loaded.score_us <= newest else None
    groups = [group for group in turn.groups if group.oldest.score_us <= newest]
    return turn._replace(loaded=loaded, groups=groups)


def _age(job: WaitingJob) -> int:
    return job.score_us


def _worth(cost_s: SwapCost) -> Callable[[WaitingGroup], tuple[int, float, int]]:
    def worth(group: WaitingGroup) -> tuple[int, float, int]:
        # Of equal ones at the same cost the older.
        return group.waiting, -(cost_s(group.oldest.group) or 0), -group.oldest.score_us

    return worth
