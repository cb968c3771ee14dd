"""Who is alive, in memory."""

from collections.abc import Collection, Mapping, Sequence

from lorajobs.holdings import Holder, Holding
from lorajobs.store import WorkerState
from lorajobs.testing.memory_outbox import MemoryOutbox


class MemoryNotices(MemoryOutbox):
    """The list of workers, under the lock and the clock of a store."""

    def __init__(self) -> None:
        super().__init__()
        self._workers: dict[str, tuple[WorkerState, int]] = {}
        self._holdings: dict[Holder, tuple[Holding, int]] = {}

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        with self.lock:
            self._workers[worker.name] = (worker, self.clock_ms() + int(ttl_s * 1000))

    def remove_worker(self, name: str) -> None:
        with self.lock:
            self._workers.pop(name, None)
            self._holdings.pop(Holder("memory", name), None)

    def workers(self) -> Sequence[WorkerState]:
        with self.lock:
            now = self.clock_ms()
            return [w for _, (w, ends) in sorted(self._workers.items()) if ends > now]

    def put_held(self, holdings: Mapping[Holder, Holding], ttl_s: float) -> None:
        with self.lock:
            ends = self.clock_ms() + int(ttl_s * 1000)
            self._holdings |= {holder: (holding, ends) for holder, holding in holdings.items()}

    def held(
        self, holders: Sequence[Holder], among: Collection[str] | None = None
    ) -> Mapping[Holder, frozenset[str]]:
        with self.lock:
            now = self.clock_ms()
            live = {
                holder: h.adapters for holder, (h, ends) in self._holdings.items() if ends > now
            }
        found = {holder: live.get(holder, frozenset()) for holder in holders}
        return found if among is None else {h: own.intersection(among) for h, own in found.items()}
