"""The tally of a store in memory, from what its public methods show."""

from collections import Counter
from collections.abc import Sequence

from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus
from lorajobs.tally import OVERDUE_S, RATE_MINUTES, BaseCount, Tally, Totals
from lorajobs.testing.memory_store import MemoryJobStore


class MemoryTally:
    """A TallyKeeper beside MemoryJobStore."""

    def __init__(self, store: MemoryJobStore) -> None:
        self._store = store

    def tally(self) -> Tally:
        store = self._store
        with store.lock:
            now = store.clock_ms()
            jobs = store.page(JobFilter(), 10**9, None).jobs
            running = Counter(j.spec.model for j in jobs if j.status is JobStatus.RUNNING)
            queued = [job for job in jobs if job.status is JobStatus.QUEUED]
            delayed = [job for job in queued if self._is_delayed(job)]
            due = [now - hook.due_ms for hook in store.outbox.values() if hook.due_ms <= now]
            bases = {}
            for model in sorted({job.spec.model for job in jobs}):
                waiting = [j for j in queued if j.spec.model == model and j not in delayed]
                head = min(waiting, key=self._score_ms, default=None)
                oldest_s = (now - head.created_ms) / 1000 if head else None
                own = [job for job in jobs if job.spec.model == model]
                bases[model] = BaseCount(
                    len(waiting),
                    oldest_s,
                    running[model],
                    self._per_min([job.created_ms for job in own]),
                    self._per_min([job.completed_ms or 0 for job in own]),
                )
            return Tally(
                bases=bases,
                delayed=len(delayed),
                unsettled=len(store.outbox),
                due=len(due),
                overdue=sum(late >= OVERDUE_S * 1000 for late in due),
                totals={model: self._totals(model) for model in bases},
            )

    def _totals(self, model: str) -> Totals:
        past = self._store.used.past
        used = [u for u in self._store.used.usage("model", None) if u.name == model]
        return Totals(
            {(s, code): n for (m, s, code), n in past.items() if m == model and s != "lost"},
            sum(u.pictures for u in used),
            sum(u.gpu_s for u in used),
            past[model, "lost", ""],
        )

    def _is_delayed(self, job: Job) -> bool:
        place = self._store.place(job.id, 0)
        return place is not None and place.delayed

    def _per_min(self, times_ms: Sequence[int]) -> float:
        now_ms = self._store.clock_ms()
        begun_ms = (now_ms // 60_000 - (RATE_MINUTES - 1)) * 60_000
        return round(sum(ms >= begun_ms for ms in times_ms) / ((now_ms - begun_ms) / 60_000), 1)

    def _score_ms(self, job: Job) -> int:
        return job.created_ms - self._store.rules.head_start_ms(job.spec.priority)
