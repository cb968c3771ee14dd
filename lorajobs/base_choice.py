"""Which of its bases a worker serves next: pure, from what waits for each.

Changing the base costs seconds, so it is a purchase: as long as another worker may serve a base,
its jobs wait until they have waited as long as the change takes (the ski-rental rule, which never
costs more than twice the best). A base that has work itself is left once another's jobs have waited
so much longer that changing costs a small share of the time.
"""

from collections.abc import Sequence
from typing import NamedTuple

from lorajobs.snapshot import WaitingJob

#: A loaded base with work is left for one that waits so many changes longer: two changes, there
#: and back, are then at most a fifth of the time.
PATIENCE = 10


class Candidate(NamedTuple):
    """The next job of one base."""

    model: str
    job: WaitingJob
    #: the store's clock
    now_us: int
    #: since when its key waits for its turn
    since_us: int
    #: what the change to it takes, 0 for the base that is loaded
    change_us: int
    #: the window of its queue
    window_us: int
    #: other live workers that have it loaded, and those of them that do nothing
    elsewhere: int
    idle_elsewhere: int


def choose_base(candidates: Sequence[Candidate], *, soon: bool = False) -> Candidate | None:
    """The base to take a job of, None if what waits is better left to other workers.

    `soon` says that the loaded base will have work in a moment.
    """
    others = [c for c in candidates if c.change_us and _is_worth_it(c, soon)]
    oldest = min(others, key=lambda candidate: candidate.since_us, default=None)
    loaded = next((c for c in candidates if not c.change_us), None)
    if loaded is None or oldest is None:
        return loaded or oldest
    patience_us = max(oldest.window_us, PATIENCE * oldest.change_us)
    return oldest if loaded.since_us - oldest.since_us > patience_us else loaded


def _is_worth_it(candidate: Candidate, soon: bool) -> bool:
    if not candidate.elsewhere and not soon:
        return True
    # The turn of its key may just have come: others take its jobs, but cannot keep up with them.
    waited_us = candidate.now_us - candidate.job.score_us
    # Who is idle with the base loaded takes the job at once, unless something is wrong with it.
    return waited_us > (2 if candidate.idle_elsewhere else 1) * candidate.change_us
