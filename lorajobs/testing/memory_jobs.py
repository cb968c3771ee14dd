"""The jobs of a store in memory, to be looked at."""

from collections.abc import Iterable, Mapping, Sequence

from lorajobs.errors import JobNotFound
from lorajobs.job_page import JobFilter, JobPage
from lorajobs.jobs import Job, JobStatus
from lorajobs.store import QueueRules
from lorajobs.terms import ERASED, KEPT_S, Once, require_same
from lorajobs.testing.entry import Entry
from lorajobs.testing.memory_notices import MemoryNotices


class MemoryJobs(MemoryNotices):
    """What a store knows and tells without changing anything."""

    rules: QueueRules

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Entry] = {}
        #: by the name of a request: its job, its fingerprint, and until when it is known
        self._once: dict[str, tuple[str, str, int]] = {}

    def get(self, job_id: str) -> Job:
        with self.lock:
            return self._entry(job_id).job

    def earlier(self, once: Once) -> Job | None:
        with self.lock:
            job_id, fingerprint, until_ms = self._once.get(once.name, ("", "", 0))
            if self.clock_ms() >= until_ms:
                return None
            require_same(once, fingerprint)
            if job_id not in self._entries:
                raise JobNotFound(ERASED)
            return self._entries[job_id].job

    def remember(self, once: Once, job_id: str) -> None:
        """Lets a repetition of the request find its job."""
        until_ms = self.clock_ms() + 1000 * KEPT_S
        self._once[once.name] = (job_id, once.fingerprint, until_ms)

    def page(self, where: JobFilter, limit: int, cursor: str | None) -> JobPage:
        with self.lock:
            jobs = sorted(
                (e.job for e in self._entries.values() if where.matches(e.job)),
                key=lambda job: (job.created_ms, job.id),
                reverse=True,
            )
        if cursor is not None:
            created, _, job_id = cursor.partition("-")
            last_seen = (int(created), job_id)
            jobs = [job for job in jobs if (job.created_ms, job.id) < last_seen]
        more = len(jobs) > limit
        last = jobs[limit - 1] if more else None
        return JobPage(jobs[:limit], f"{last.created_ms}-{last.id}" if last else None)

    def backlog(self) -> Mapping[str, int]:
        with self.lock:
            models = {entry.job.spec.model for entry in self._entries.values()}
            return {model: len(self._waiting(model)) for model in sorted(models)}

    def spent(self, limit: int) -> Sequence[str]:
        with self.lock:
            kept_ms = int(self.rules.retention_s * 1000)
            now = self.clock_ms()
            ended = [e for e in self._entries.values() if e.job.completed_ms is not None]
            return [e.job.id for e in ended if e.kept_until(kept_ms) <= now][:limit]

    def keep(self, job_id: str, seconds: float) -> None:
        with self.lock:
            if job_id in self._entries:
                self._entries[job_id].kept_until_ms = self.clock_ms() + int(seconds * 1000)

    def delayed(self) -> Sequence[tuple[Job, int]]:
        """Jobs held back until their next attempt and when that is, the first to come first."""
        with self.lock:
            held = [(e.job, e.ready_ms) for e in self._entries.values() if e.ready_ms]
        return sorted(held, key=lambda one: one[1])

    def _entry(self, job_id: str) -> Entry:
        try:
            return self._entries[job_id]
        except KeyError:
            raise JobNotFound(f"no job has the id {job_id!r}") from None

    def _waiting(self, model: str) -> list[Entry]:
        found = [
            e
            for e in self._entries.values()
            if e.job.status is JobStatus.QUEUED and e.job.spec.model == model and not e.ready_ms
        ]
        return self._in_order(found)

    def _in_order(self, waiting: Iterable[Entry]) -> list[Entry]:
        return sorted(waiting, key=lambda entry: entry.score_us(self.rules))
