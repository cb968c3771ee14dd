"""The policies that are compared: what a worker that has a ticket takes."""

from collections.abc import Callable
from typing import NamedTuple

from lorajobs.policy import choose
from lorajobs.snapshot import Snapshot, WaitingJob

IsHere = Callable[[str], bool]


class Policy(NamedTuple):
    """A name for tables, the window and the choice."""

    name: str
    window_s: float
    choose: Callable[[Snapshot, IsHere], WaitingJob | None]


def _oldest(snapshot: Snapshot, is_here: IsHere) -> WaitingJob | None:
    # A turn's groups begin with its oldest job.
    heads = [turn.groups[0].oldest for turn in snapshot.turns]
    return min(heads, key=lambda job: job.score_us, default=None)


def _sticky(snapshot: Snapshot, is_here: IsHere) -> WaitingJob | None:
    loaded = snapshot.turns[0].loaded if snapshot.turns else None
    return loaded or _oldest(snapshot, is_here)


#: Strictly in order.
FIFO = Policy("FIFO", 0, _oldest)
#: What is applied first, however long others wait; else the oldest.
STICKY = Policy("sticky", 0, _sticky)


def ours(window_s: float) -> Policy:
    """The policy that workers run, with a window in seconds."""
    window_us = int(window_s * 1_000_000)
    return Policy(
        f"ours, {window_s:g} s",
        window_s,
        lambda s, is_here: choose(s, window_us, lambda group: 0.0 if is_here(group) else None),
    )
