"""The events of the jobs in a store in memory."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from lorajobs.events import Event

_Id = tuple[int, int]


class MemoryEvents:
    """An EventLog under the lock and the clock of a store, but its readers wait in real time."""

    clock_ms: Callable[[], int]

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._news = threading.Condition(self.lock)
        self._events: dict[str, list[Event]] = defaultdict(list)

    def happened(self, job_id: str, kind: str, **fields: str | int) -> None:
        """Writes an event, and wakes those who wait for it."""
        with self._news:
            log = self._events[job_id]
            last = _parsed(log[-1].id) if log else (0, 0)
            moment, number = max((self.clock_ms(), 0), (last[0], last[1] + 1))
            log.append(Event(f"{moment}-{number}", kind, fields))
            self._news.notify_all()

    def forget_events(self, job_id: str) -> None:
        """Drops a job's log, as a day after its last event."""
        with self._news:
            self._events.pop(job_id, None)

    def events(self, job_id: str, after: str, block_s: float) -> Sequence[Event]:
        heard, ends_at = _parsed(after or "0-0"), time.monotonic() + block_s
        with self._news:
            while True:
                found = [e for e in self._events.get(job_id, ()) if _parsed(e.id) > heard]
                left_s = ends_at - time.monotonic()
                if found or left_s <= 0:
                    return found
                self._news.wait(left_s)


def _parsed(event_id: str) -> _Id:
    moment, _, number = event_id.partition("-")
    return int(moment), int(number)
