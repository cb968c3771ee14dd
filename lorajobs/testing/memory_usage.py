"""What was used, added up by a store in memory; it stays when the jobs are erased."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date

from lorajobs.document import without_secrets
from lorajobs.jobs import Job, Outcome
from lorajobs.usage import Period, Usage, UsageBy, day_of, gpu_s


class MemoryUsage:
    """A UsageKeeper that a MemoryJobStore tells of each end."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        #: ends of jobs by base, status and error code, and `lost` leases
        self.past: Counter[tuple[str, str, str]] = Counter()
        #: by day and key, then by what it is and its name: jobs, pictures and milliseconds
        self._sums: dict[tuple[date, str, UsageBy, str], tuple[int, int, int]] = {}

    def add(self, job: Job, outcome: Outcome) -> None:
        """Counts a job that a worker ended."""
        names: list[tuple[UsageBy, str]] = [("key", ""), ("model", job.spec.model)]
        adapters = {without_secrets(use.id) for use in outcome.applied_loras}
        names += [("adapter", name) for name in adapters]
        for by, name in names:
            place = day_of(self._clock_ms()), job.spec.owner, by, name
            jobs, pictures, ms = self._sums.get(place, (0, 0, 0))
            took = ms + round(1000 * gpu_s(outcome))
            made = pictures + len(outcome.pictures)
            self._sums[place] = (jobs + 1, made, took)

    def usage(
        self, by: UsageBy, owner: str | None, period: Period | None = None
    ) -> Sequence[Usage]:
        found: dict[str, tuple[int, int, int]] = {}
        for (day, user, kind, name), more in self._sums.items():
            meant = period is None or period.since <= day <= period.until
            if meant and kind == by and owner in (None, user):
                shown = user if by == "key" else name
                jobs, pictures, ms = found.get(shown, (0, 0, 0))
                found[shown] = (jobs + more[0], pictures + more[1], ms + more[2])
        return [Usage(name, j, p, ms / 1000) for name, (j, p, ms) in sorted(found.items())]
