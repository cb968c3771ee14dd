"""When each job ran and where, and what that says of a policy."""

import math
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Run(NamedTuple):
    """One job's way through the queue; milliseconds of one clock."""

    worker: str
    #: the adapters it ran with
    group: str
    submitted_ms: int
    started_ms: int
    ended_ms: int
    #: of these, spent changing adapters
    swap_ms: float

    @property
    def wait_s(self) -> float:
        """From submit to claim."""
        return (self.started_ms - self.submitted_ms) / 1000


class Figures(NamedTuple):
    """What a table shows of one run of the queue; seconds."""

    swaps: int
    #: from the first submit to the last end
    makespan_s: float
    #: of all workers, spent changing adapters
    lost_s: float
    mean_wait_s: float
    p95_wait_s: float
    max_wait_s: float
    #: pairs of a job and one that started before it though submitted more than the window later
    overtakes: int


def figures(runs: Sequence[Run], window_s: float) -> Figures:
    """The figures of one run."""
    waits = [run.wait_s for run in runs]
    return Figures(
        swaps=swaps(runs),
        makespan_s=(max(r.ended_ms for r in runs) - min(r.submitted_ms for r in runs)) / 1000,
        lost_s=sum(run.swap_ms for run in runs) / 1000,
        mean_wait_s=sum(waits) / len(waits),
        p95_wait_s=quantile(waits, 0.95),
        max_wait_s=max(waits),
        overtakes=overtakes(runs, window_s),
    )


def swaps(runs: Iterable[Run]) -> int:
    """How often a worker ran a job with other adapters than its last; the first ones count."""
    groups: dict[str, list[str]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.started_ms):
        groups[run.worker].append(run.group)
    # A worker starts with its bare base.
    return sum(a != b for order in groups.values() for a, b in pairwise(["", *order]))


def gaps_ms(runs: Iterable[Run]) -> Sequence[int]:
    """From each job's end to the next start on its worker."""
    last: dict[str, int] = {}
    gaps = []
    for run in sorted(runs, key=lambda run: run.started_ms):
        if run.worker in last:
            gaps.append(run.started_ms - last[run.worker])
        last[run.worker] = run.ended_ms
    return gaps


def overtakes(runs: Iterable[Run], window_s: float) -> int:
    """Pairs of a job and one that was submitted over `window_s` after it and started before it."""
    count = 0
    started: list[int] = []
    # Of two that started in the same millisecond neither is before the other.
    for run in sorted(runs, key=lambda run: (run.started_ms, run.submitted_ms)):
        count += len(started) - bisect_right(started, run.submitted_ms + window_s * 1000)
        insort(started, run.submitted_ms)
    return count


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
