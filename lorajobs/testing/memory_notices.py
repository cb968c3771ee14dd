"""Who is alive, in memory."""

from collections.abc import Sequence

from lorajobs.store import WorkerState
from lorajobs.testing.memory_outbox import MemoryOutbox


class MemoryNotices(MemoryOutbox):
    """The list of workers, under the lock and the clock of a store."""

    def __init__(self) -> None:
        super().__init__()
        self._workers: dict[str, tuple[WorkerState, int]] = {}

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        with self.lock:
            self._workers[worker.name] = (worker, self.clock_ms() + int(ttl_s * 1000))

    def remove_worker(self, name: str) -> None:
        with self.lock:
            self._workers.pop(name, None)

    def workers(self) -> Sequence[WorkerState]:
        with self.lock:
            now = self.clock_ms()
            return [w for _, (w, ends) in sorted(self._workers.items()) if ends > now]
