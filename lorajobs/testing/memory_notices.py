"""Who is alive, in memory."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import Job, JobStatus, Stage
from lorajobs.store import WorkerState
from lorajobs.testing.memory_outbox import MemoryOutbox
from lorajobs.timeline import CLAIMED, LEFT, Mark


class MemoryNotices(MemoryOutbox):
    """The list of workers, under the lock and the clock of a store."""

    def __init__(self) -> None:
        super().__init__()
        self._workers: dict[str, tuple[WorkerState, int]] = {}
        self._holdings: dict[Holder, tuple[Holding, int]] = {}
        #: what each worker did
        self.marks: dict[str, list[Mark]] = defaultdict(list)

    def mark(self, worker: str, what: str, job_id: str = "", detail: str = "") -> None:
        """Notes what a worker does from now on."""
        self.marks[worker].append(Mark(self.clock_ms(), what, job_id, detail))

    def mark_stage(self, job: Job, stage: Stage) -> None:
        """Notes that a running job enters another stage."""
        # A claim begins with the adapters, and decoding is a part of generating.
        is_told = stage is Stage.DECODING or (job.stage is None and stage is Stage.LOADING_ADAPTER)
        if job.worker and stage is not job.stage and not is_told:
            self.mark(job.worker, stage, job.id)

    def mark_move(self, before: Job, after: Job) -> None:
        """Notes that a job runs now, or no more."""
        if before.worker and before.status is JobStatus.RUNNING:
            took = before.metrics
            told = f"{took.fetch_s or 0} {took.swap_s or 0}" if after.status.is_terminal else ""
            self.mark(before.worker, after.status, before.id, told)
        if after.worker and after.status is JobStatus.RUNNING:
            self.mark(after.worker, CLAIMED, after.id, f"{after.spec.model} {after.spec.group}")

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        with self.lock:
            was = next((w for w in self.workers() if w.name == worker.name), None)
            if was is None or (was.state, was.model) != (worker.state, worker.model):
                self.mark(worker.name, worker.state, detail=worker.model)
            self._workers[worker.name] = (worker, self.clock_ms() + int(ttl_s * 1000))

    def remove_worker(self, name: str) -> None:
        with self.lock:
            self._workers.pop(name, None)
            self._holdings.pop(Holder("memory", name), None)
            self.mark(name, LEFT)

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
