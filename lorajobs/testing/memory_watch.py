"""What an operator asks of a store in memory."""

from collections.abc import Sequence

from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus
from lorajobs.outbox import DeliveryRecord, DeliveryStatus
from lorajobs.testing.memory_store import MemoryJobStore
from lorajobs.watch import LATEST, Lately, Placed


class MemoryWatch:
    """A Watch beside MemoryJobStore."""

    def __init__(self, store: MemoryJobStore) -> None:
        self._store = store

    def lately(self, workers: int, most: int) -> Lately:
        store = self._store
        with store.lock:
            names = sorted(store.marks, key=lambda name: -store.marks[name][-1].at_ms)
            failed = sorted(self._jobs(JobStatus.FAILED), key=lambda job: -(job.completed_ms or 0))
            records = [record for job in self._jobs() for record in store.deliveries(job.id)]
            return Lately(
                now_ms=store.clock_ms(),
                marks={name: list(store.marks[name]) for name in names[:workers]},
                failed=failed[: min(most, LATEST)],
                delayed=store.delayed()[:most],
                undelivered=sorted(
                    (r for r in records if r.status is DeliveryStatus.FAILED), key=_last_try
                )[::-1][:most],
                retried=sorted(
                    (r for r in records if r.log and r.next_try_ms is not None),
                    key=lambda record: record.next_try_ms or 0,
                )[:most],
            )

    def queued(self, model: str) -> Sequence[str]:
        jobs = self._jobs(JobStatus.QUEUED)
        return [job.id for job in reversed(jobs) if job.spec.model == model]

    def line(self, model: str, window_us: int, most: int) -> Sequence[Placed]:
        store = self._store
        with store.lock:
            placed = [
                Placed(job, place)
                for job in self._jobs(JobStatus.QUEUED)
                if job.spec.model == model and (place := store.place(job.id, window_us))
            ]
        waiting = [one for one in placed if not one.place.delayed]
        return sorted(waiting, key=lambda one: one.place.position)[:most]

    def _jobs(self, status: JobStatus | None = None) -> Sequence[Job]:
        return self._store.page(JobFilter(status), 10**9, None).jobs


def _last_try(record: DeliveryRecord) -> int:
    return record.log[-1].at_ms if record.log else 0
