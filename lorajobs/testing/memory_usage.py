"""What was used, added up by a store in memory; it stays when the jobs are erased."""

from collections.abc import Sequence

from lorajobs.document import without_secrets
from lorajobs.jobs import Job, Outcome
from lorajobs.usage import Usage, UsageBy, gpu_s


class MemoryUsage:
    """A UsageKeeper that a MemoryJobStore tells of each end."""

    def __init__(self) -> None:
        #: by key, then by what it is and its name: jobs, pictures and milliseconds
        self._sums: dict[tuple[str, UsageBy, str], tuple[int, int, int]] = {}

    def add(self, job: Job, outcome: Outcome) -> None:
        """Counts a job that a worker ended."""
        names: list[tuple[UsageBy, str]] = [("key", ""), ("model", job.spec.model)]
        adapters = {without_secrets(use.id) for use in outcome.applied_loras}
        names += [("adapter", name) for name in adapters]
        for by, name in names:
            jobs, pictures, ms = self._sums.get((job.spec.owner, by, name), (0, 0, 0))
            took = ms + round(1000 * gpu_s(outcome))
            made = pictures + len(outcome.pictures)
            self._sums[job.spec.owner, by, name] = (jobs + 1, made, took)

    def usage(self, by: UsageBy, owner: str | None) -> Sequence[Usage]:
        found: dict[str, tuple[int, int, int]] = {}
        for (user, kind, name), more in self._sums.items():
            if kind == by and owner in (None, user):
                shown = user if by == "key" else name
                jobs, pictures, ms = found.get(shown, (0, 0, 0))
                found[shown] = (jobs + more[0], pictures + more[1], ms + more[2])
        return [Usage(name, j, p, ms / 1000) for name, (j, p, ms) in sorted(found.items())]
