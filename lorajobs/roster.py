"""The live workers as they were a moment ago, for those who ask at every request."""

import time
from collections.abc import Callable, Sequence

from lorajobs.place import Crew
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
        self._ask = ask
        self._kept_s = kept_s
        self._clock = clock
        self._seen: tuple[float, Sequence[WorkerState]] | None = None

    def serving(self, model: str) -> Crew:
        """Who takes jobs of this base.

        Raises: StoreUnavailable.
        """
        # Two threads may both ask; neither is harmed.
        seen = self._seen
        if seen is None or self._clock() - seen[0] >= self._kept_s:
            seen = self._seen = self._clock(), self._ask()
        own = [worker for worker in seen[1] if worker.serves(model) and worker.takes_jobs]
        idle = [worker for worker in own if worker.state == "warm" and worker.job_id is None]
        return Crew(len(own), len(idle))
