"""What a worker tells Prometheus of itself."""

import threading
from collections.abc import Collection, Iterable

from lorajobs.adapters.census import Census
from lorajobs.ending import Ending
from lorajobs.jobs import Job
from lorajobs.metrics import ProcessMetrics, serve
from lorajobs.report import AttemptReport, CanaryReport, FetchReport, Report, ReportPipe
from lorajobs.settings import Settings
from lorajobs.store import DRAINING, UNLOADED

#: The same on both sides of a start that was predicted right.
ERRORS = (-600, -120, -30, -10, -3, -1, 0, 1, 3, 10, 30, 120, 600)
#: Why a ticket that reached a worker had to wait there.
HELD = ("loading", "busy", "adapters", "base", "lost", "error")
#: Where an attempt's adapters were: on the base, on this machine's disk, elsewhere.
TIERS = ("applied", "disk", "remote")
#: What a look at an idle worker's weights found, see canary.py.
LOOKS = ("sound", "corrupt", "failed")
STATES = ("loading", "warm", UNLOADED, DRAINING)


class Shelves:
    """The adapters that a worker has at hand, and those that had to go."""

    def __init__(self, metrics: ProcessMetrics) -> None:
        self._held = metrics.gauge("adapters_at_hand", "Adapters in memory and on disk", "tier")
        self._bytes = metrics.gauge("disk_bytes", "Of adapters on this machine's disk")
        self._evicted = metrics.count("evicted_adapters", "Adapters that left", "tier")
        self._hits = metrics.count(
            "adapters_in_memory",
            "Adapters in host memory at the claim of their job",
            "base",
        )
        self._base = ""
        self._resident: frozenset[str] = frozenset()
        self._census = Census(frozenset(), 0)
        for tier in ("memory", "disk"):
            self._evicted.labels(tier)
        self.memory("", frozenset())
        self.disk(self._census)

    def begin(self, base: str) -> None:
        """Shows a base from the first scrape on."""
        self._hits.labels(base)

    def claimed(self, base: str, in_memory: Collection[bool]) -> None:
        """Counts where a claimed job's adapters are."""
        self._hits.labels(base).inc(sum(in_memory))

    def memory(self, base: str, resident: frozenset[str]) -> None:
        """Compares with what was there; another base has a memory of its own."""
        if base == self._base and resident:
            self._evicted.labels("memory").inc(len(self._resident - resident))
        self._base, self._resident = base, resident
        self._held.labels("memory").set(len(resident))

    def disk(self, census: Census) -> None:
        """Compares with what was there, whoever of this machine took it away."""
        if census.disk == self._census.disk:
            self._evicted.labels("disk").inc(len(self._census.adapters - census.adapters))
        self._census = census
        self._held.labels("disk").set(census.cached)
        self._bytes.set(census.cached_bytes)


class WorkerMetrics(ProcessMetrics):
    """The metrics of one worker, in its parent process."""

    def __init__(self) -> None:
        super().__init__("worker")
        self._wait = self.seconds("wait", "From a job's submit to its first claim", "base")
        self._error = self.seconds(
            "start_error", "How much later than predicted a job was claimed", "base", bounds=ERRORS
        )
        self._stages = {
            "fetch_s": self.seconds(
                "fetch", "Until an attempt's adapters were on the disk", "base"
            ),
            "generate_s": self.seconds("generate", "Denoising and decoding of an attempt", "base"),
            "upload_s": self.seconds(
                "upload", "Encoding and storing of an attempt's pictures", "base"
            ),
        }
        self._swap = self.seconds("swap", "One change of the applied adapters", "base")
        self._service = self.seconds(
            "service", "One attempt, from its begin to its written end", "base"
        )
        self._busy = self.count("gpu_busy_seconds", "In the engine: adapters and pictures", "base")
        self._attempts = self.count("attempts", "Claims of a job", "base")
        self._jobs = self.count("jobs", "Attempts that ended, by how", "base", "outcome")
        self._adapters = self.count(
            "adapters", "Adapters that attempts needed, by where they were", "base", "tier"
        )
        self._ahead = self.count(
            "fetched_ahead", "Adapters fetched ahead of their jobs", "base", "result"
        )
        self._withheld = self.count("withheld_pictures", "Pictures that a checker flagged", "base")
        self._held = self.count("held", "Looks at a ticket that had to wait, by why", "reason")
        self._reconnects = self.count("reconnects", "Connections to the broker after the first")
        self._connected = False
        self._state = self.gauge("state", "1 for the present state", "state")
        self._leases = self.gauge("leases", "Leases held")
        self._looks = self.count("canary_looks", "Looks at idle weights", "base", "result")
        self._shelves = Shelves(self)
        self._restarts = self.count("child_restarts", "Children after the first")
        self._children: frozenset[int] = frozenset()

    def serve(self, settings: Settings, bases: Iterable[str], reports: ReportPipe) -> None:
        """Answers scrapes if the settings say so, with what the child reports too.

        Raises: ConfigError.
        """
        # From the first scrape on, so that the first increase of each is seen.
        for reason in HELD:
            self._held.labels(reason)
        for base in bases:
            self._begin(base)
        self.state("loading", 0, ())
        if serve(self.registry, settings):
            listen = threading.Thread(
                target=self._listen, args=[reports], name="reports", daemon=True
            )
            listen.start()

    def claimed(self, job: Job, resident: Collection[str] = ()) -> None:
        """Counts an attempt, and for the first one how long its job has waited.

        `resident` are the SHA-256 of the adapters in host memory.
        """
        base = job.spec.model
        self._attempts.labels(base).inc()
        self._shelves.claimed(base, [use.adapter.sha256 in resident for use in job.spec.loras])
        if job.attempt == 1:
            self.waited(base, job.queue_s, job.predicted_s)

    def waited(self, base: str, actual_s: float, predicted_s: float | None) -> None:
        """Observes a wait beside its prediction, seconds."""
        self._wait.labels(base).observe(actual_s)
        if predicted_s is not None:
            self._error.labels(base).observe(actual_s - predicted_s)

    def ended(self, base: str, ending: Ending) -> None:
        """Counts the end of an attempt; those that the child brings about come by its reports."""
        self._jobs.labels(base, ending.value).inc()

    def held(self, reason: str) -> None:
        """Counts a look at a ticket that stays, for one of the reasons `HELD`."""
        self._held.labels(reason).inc()

    def connected(self) -> None:
        """Counts a connection of the consumer to the broker, but for the first."""
        if self._connected:
            self._reconnects.inc()
        self._connected = True

    def state(self, state: str, leases: int, children: Collection[int]) -> None:
        """Shows what the worker does now, and the process ids of its children."""
        for name in STATES:
            self._state.labels(name).set(name == state)
        self._leases.set(leases)
        if self._children:
            self._restarts.inc(len(frozenset(children) - self._children))
        self._children = frozenset(children) or self._children

    def holds(self, base: str, resident: Collection[str], census: Census) -> None:
        """Shows what is in the host memory of the base that is loaded, and on the disk."""
        self._shelves.memory(base, frozenset(resident))
        self._shelves.disk(census)

    def reported(self, report: Report) -> None:
        """Observes what the child has measured."""
        match report:
            case AttemptReport():
                self._attempt(report)
            case FetchReport():
                self._ahead.labels(report.base, "fetched" if report.fetched else "failed").inc()
            case CanaryReport():
                self._looks.labels(report.base, report.result).inc()

    def _attempt(self, report: AttemptReport) -> None:
        base, metrics = report.base, report.metrics
        self.ended(base, report.ending)
        self._service.labels(base).observe(report.service_s)
        for name, histogram in self._stages.items():
            seconds = getattr(metrics, name)
            if seconds is not None:
                histogram.labels(base).observe(seconds)
        if metrics.swapped and metrics.swap_s is not None:
            self._swap.labels(base).observe(metrics.swap_s)
        self._busy.labels(base).inc((metrics.swap_s or 0) + (metrics.generate_s or 0))
        self._withheld.labels(base).inc(report.withheld)
        for tier, count in (metrics.tiers or {}).items():
            self._adapters.labels(base, tier).inc(count)

    def _begin(self, base: str) -> None:
        histograms = (self._wait, self._error, self._swap, self._service, *self._stages.values())
        counters = (self._busy, self._attempts, self._put_back, self._withheld)
        for metric in (*histograms, *counters):
            metric.labels(base)
        for ending in Ending:
            self._jobs.labels(base, ending.value)
        for tier in TIERS:
            self._adapters.labels(base, tier)
        for result in ("fetched", "failed"):
            self._ahead.labels(base, result)
        for result in LOOKS:
            self._looks.labels(base, result)
        self._shelves.begin(base)

    def _listen(self, reports: ReportPipe) -> None:
        for report in reports.received():
            self.reported(report)
