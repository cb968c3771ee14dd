"""What a worker sees of one base's queue when it looks for its next job."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

#: How many keys, and groups of each, the policy sees.
SNAPSHOT_LIMIT = 32


class WaitingJob(NamedTuple):
    """A job that a worker may claim; `score_us`, Unix microseconds, orders the queue."""

    id: str
    score_us: int
    #: the adapters that it needs, as `groups.group_of` names them
    group: str


class WaitingGroup(NamedTuple):
    """The waiting jobs that need the same adapters."""

    #: the oldest of this key's jobs in the group
    oldest: WaitingJob
    #: the group's jobs, those of all keys
    waiting: int
    #: another live worker has these adapters applied
    elsewhere: bool


class Turn(NamedTuple):
    """The waiting jobs of one API key, `""` for those without one."""

    owner: str
    #: since when it waits for its turn: since its oldest job counts as submitted, or its last turn
    since_us: int
    #: True if a job of this key was claimed in this round
    had: bool
    #: the oldest job that needs what the worker has applied
    loaded: WaitingJob | None
    #: by the age of their oldest jobs, never empty, the first 32
    groups: Sequence[WaitingGroup]


class Snapshot(NamedTuple):
    """What the policy sees of one base's queue: small, whatever the backlog."""

    now_us: int
    #: the keys that wait longest, at most 32
    turns: Sequence[Turn]

    def is_cut(self, limit: int = SNAPSHOT_LIMIT) -> bool:
        """True if a larger limit may show more."""
        return len(self.turns) >= limit or any(len(turn.groups) >= limit for turn in self.turns)

    def next(self, limit: int) -> Sequence[WaitingJob]:
        """The oldest job of each key, then of each key's next group, and so on."""
        columns = zip_longest(*(turn.groups for turn in self.turns))
        jobs = [group.oldest for column in columns for group in column if group]
        return jobs[:limit]
