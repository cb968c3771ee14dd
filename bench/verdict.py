"""What became of every job, from its record, its events and its webhooks."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from bench.announcements import Announcements
from bench.arena import Outage
from lorajobs.errors import JobNotFound
from lorajobs.jobs import Job, JobStatus
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_store import RedisJobStore

log = logging.getLogger(__name__)

RECOVERY_BOUND_S = 10.0
_TERMINAL = {str(status) for status in JobStatus if status.is_terminal}


class Event(NamedTuple):
    """One entry of a job's stream; the time is the store's, in milliseconds since 1970."""

    at_ms: int
    kind: str


@dataclass
class Report:
    """The figures of one run; the last line that the command prints."""

    #: submits answered with 202
    accepted: int = 0
    #: of all jobs, those of submits without an answer too
    terminal: int = 0
    #: jobs that did not end, and accepted ones that nobody knows
    lost: int = 0
    #: jobs that ended more than once
    completed_twice: int = 0
    #: ended jobs whose end was not announced, or another end than theirs
    webhooks_missing: int = 0
    #: jobs announced under two ids
    webhooks_twice_id: int = 0
    reexecutions: int = 0
    kills: int = 0
    #: the longest that a claimed job showed no sign of life, less the broker's absence
    recovery_max_s: float = 0.0
    seconds: float = 0.0
    seed: int = 0
    #: jobs of submits that had no answer
    extra: int = 0
    #: ended otherwise than succeeded, by the code of the error
    failed: dict[str, int] = field(default_factory=dict)
    webhooks_forged: int = 0
    #: the longest that a worker was idle although it was up, the broker too, and jobs waited
    idle_max_s: float = 0.0
    #: processes that ended although nobody killed them
    exits: int = 0
    #: workers that Celery gave up because a fault hit them while they started
    false_starts: int = 0
    orphans: int = 0
    cuts: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            f"{self.lost} jobs were lost": self.lost == 0,
            f"{self.completed_twice} jobs ended twice": self.completed_twice == 0,
            f"{self.webhooks_missing} webhooks are missing": self.webhooks_missing == 0,
            f"{self.webhooks_twice_id} jobs have two webhooks": self.webhooks_twice_id == 0,
            f"{self.webhooks_forged} webhooks are not signed": self.webhooks_forged == 0,
            f"jobs failed: {self.failed}": not self.failed,
            f"{self.reexecutions} re-executions": self.reexecutions <= self.kills,
            f"a job stood still for {self.recovery_max_s} s": self.recovery_max_s
            <= RECOVERY_BOUND_S,
            f"a worker idled for {self.idle_max_s} s": self.idle_max_s <= RECOVERY_BOUND_S,
            f"{self.exits} processes ended by themselves": self.exits == 0,
            f"{self.orphans} orphaned processes": self.orphans == 0,
        }
        return [broken for broken, kept in promises.items() if not kept]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Ledger:
    """Reads jobs and their events."""

    def __init__(self, url: str, store: RedisJobStore) -> None:
        self._redis = connect(url)
        self._store = store

    def close(self) -> None:
        """Closes the connection."""
        self._redis.close()

    def ids(self) -> Sequence[str]:
        """Every job that was ever submitted."""
        with translated():
            found: list[str] = self._redis.zrange(f"{PREFIX}:jobs", 0, -1)  # type: ignore[assignment]
        return found

    def job(self, job_id: str) -> Job | None:
        """The job's record."""
        try:
            return self._store.get(job_id)
        except JobNotFound:
            return None

    def events(self, job_id: str) -> Sequence[Event]:
        """What happened to the job."""
        with translated():
            rows: list[tuple[str, dict[str, str]]] = self._redis.xrange(  # type: ignore[assignment]
                f"{PREFIX}:events:{job_id}"
            )
        return [Event(int(at.partition("-")[0]), row["event"]) for at, row in rows]


def standstill_s(events: Iterable[Event], outages: Sequence[Outage]) -> float:
    """The longest time without a sign of life from the first claim to the end, less outages.

    A death falls between two signs of life, so this is at least the time from a death until the job
    ran again or ended.
    """
    longest, last = 0.0, None
    for event in events:
        if event.kind == "queued":
            continue
        if last is not None:
            longest = max(longest, event.at_ms - last - _away(last, event.at_ms, outages))
        last = event.at_ms
    return longest / 1000


def _away(from_ms: float, until_ms: float, outages: Sequence[Outage]) -> float:
    shared = (min(until_ms, o.until_ms) - max(from_ms, o.from_ms) for o in outages)
    return sum(max(0.0, length) for length in shared)


def judge(
    report: Report,
    ledger: Ledger,
    accepted: Sequence[str],
    announcements: Announcements,
    outages: Sequence[Outage],
) -> None:
    """Fills in what became of the jobs.

    Raises: StoreUnavailable.
    """
    known = set(ledger.ids())
    report.accepted = len(accepted)
    report.extra = len(known - set(accepted))
    failed: Counter[str] = Counter()
    for job_id in known | set(accepted):
        job = ledger.job(job_id)
        events = ledger.events(job_id)
        ends = [event.kind for event in events if event.kind in _TERMINAL]
        if job is None or not job.status.is_terminal or not ends:
            report.lost += 1
            continue
        report.terminal += 1
        report.completed_twice += len(ends) > 1
        report.webhooks_missing += announcements.ends[job_id] != {str(job.status)}
        report.webhooks_twice_id += len(announcements.ids[job_id]) > 1
        report.reexecutions += job.attempt - 1
        still_s = standstill_s(events, outages)
        report.recovery_max_s = max(report.recovery_max_s, still_s)
        if still_s > RECOVERY_BOUND_S / 4:
            log.info("job %s stood still for %.2f s: %s", job_id, still_s, events)
        if job.status is not JobStatus.SUCCEEDED:
            failed[job.error.code if job.error else str(job.status)] += 1
    report.failed = dict(failed)
