"""The live workers as they were a moment ago, for those who ask at every request."""

import time
from collections.abc import Callable, Sequence

from lorajobs.place import Crew
from lorajobs.remembered import Remembered
from lorajobs.store import WorkerState

#: Seconds; a worker says that it lives every 1.5 s.
KEPT_S = 1.0


class Roster:
    """Asks for the workers again once its answer is older than `kept_s` seconds."""

    def __init__(
        self,
        ask: Callable[[], Sequence[WorkerState]],
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = Remembered(ask, kept_s, clock)

    def serving(self, model: str) -> Crew:
        """Who takes jobs of this base.

        Raises: StoreUnavailable.
        """
        return crew_of(self._workers(), model)


def crew_of(workers: Sequence[WorkerState], model: str) -> Crew:
    """Who of these live workers takes jobs of this base."""
    own = [worker for worker in workers if worker.serves(model) and worker.takes_jobs]
    idle = [worker for worker in own if worker.state == "warm" and worker.job_id is None]
    return Crew(len(own), len(idle))
