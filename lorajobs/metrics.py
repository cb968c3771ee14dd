"""What a worker and a courier tell Prometheus of themselves; docs/operations.md lists it all."""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lorajobs.ending import Ending
from lorajobs.errors import ConfigError, StoreUnavailable
from lorajobs.jobs import Job
from lorajobs.report import AttemptReport, FetchReport, Report, ReportPipe
from lorajobs.settings import Settings
from lorajobs.store import DRAINING, UNLOADED, Rescued
from lorajobs.tally import TallyKeeper

log = logging.getLogger(__name__)

#: Bounds that tell apart a swap from memory and from disk, and a job from its time limit.
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
#: The same on both sides of a start that was predicted right.
ERRORS = (-600, -120, -30, -10, -3, -1, 0, 1, 3, 10, 30, 120, 600)
#: Why a ticket that reached a worker had to wait there.
HELD = ("loading", "busy", "adapters", "base", "lost", "error")
#: Where an attempt's adapters were: on the base, on this machine's disk, elsewhere.
TIERS = ("applied", "disk", "remote")
STATES = ("loading", "warm", UNLOADED, DRAINING)
#: What one try to send a webhook came to.
DELIVERIES = ("delivered", "gone", "erased", "outdated", "retried", "given_up")
ROUNDS = ("done", "skipped", "failed")


def serve(registry: CollectorRegistry, settings: Settings) -> bool:
    """Answers scrapes from a thread of this process; False, and no port, unless one is set.

    Raises: ConfigError if the port cannot be had.
    """
    host, port = settings.metrics_host, settings.metrics_port
    # Each would be one more series, and a process that starts anew shows by its other figures.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot its return
    if port is None:
        return False
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            f"LORAJOBS_METRICS_PORT: nothing can listen on {host} port {port}: "
            f"{error.strerror or error}; each worker and courier of a machine needs its own port"
        ) from error
    # A child that outlives its parent must not keep the port from the next one.
    os.register_at_fork(after_in_child=server.socket.close)
    log.info("metrics at http://%s:%d/metrics", host, port)
    return True


class _Metrics:
    """What both have: a registry of their own, and a part in the rescue."""

    def __init__(self, process: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"lorajobs_{process}_"
        self._put_back = self._count(
            "rescue_put_back", "Jobs put back for dead workers or a retry", "base"
        )
        self._ended = self._count("rescue_ended", "Jobs that the rescue or their deadline ended")

    def rescued(self, rescued: Rescued) -> None:
        """Counts what this process put back or ended for others."""
        for base, count in rescued.waiting_again.items():
            self._put_back.labels(base).inc(count)
        self._ended.inc(rescued.ended)

    def _count(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(self._prefix + name, text, labels, registry=self.registry)

    def _seconds(
        self, name: str, text: str, *labels: str, bounds: Sequence[float] = SECONDS
    ) -> Histogram:
        name = f"{self._prefix}{name}_seconds"
        return Histogram(name, text, labels, registry=self.registry, buckets=bounds)


class WorkerMetrics(_Metrics):
    """The metrics of one worker, in its parent process."""

    def __init__(self) -> None:
        super().__init__("worker")
        self._wait = self._seconds("wait", "From a job's submit to its first claim", "base")
        self._error = self._seconds(
            "start_error", "How much later than predicted a job was claimed", "base", bounds=ERRORS
        )
        self._stages = {
            "fetch_s": self._seconds(
                "fetch", "Until an attempt's adapters were on the disk", "base"
            ),
            "generate_s": self._seconds("generate", "Denoising and decoding of an attempt", "base"),
            "upload_s": self._seconds(
                "upload", "Encoding and storing of an attempt's pictures", "base"
            ),
        }
        self._swap = self._seconds("swap", "One change of the applied adapters", "base")
        self._service = self._seconds(
            "service", "One attempt, from its begin to its written end", "base"
        )
        self._busy = self._count("gpu_busy_seconds", "In the engine: adapters and pictures", "base")
        self._attempts = self._count("attempts", "Claims of a job", "base")
        self._jobs = self._count("jobs", "Attempts that ended, by how", "base", "outcome")
        self._adapters = self._count(
            "adapters", "Adapters that attempts needed, by where they were", "base", "tier"
        )
        self._ahead = self._count(
            "fetched_ahead", "Adapters fetched ahead of their jobs", "base", "result"
        )
        self._withheld = self._count("withheld_pictures", "Pictures that a checker flagged", "base")
        self._held = self._count("held", "Looks at a ticket that had to wait, by why", "reason")
        self._reconnects = self._count("reconnects", "Connections to the broker after the first")
        self._connected = False
        self._state = Gauge(
            "lorajobs_worker_state", "1 for the present state", ["state"], registry=self.registry
        )
        self._leases = Gauge("lorajobs_worker_leases", "Leases held", registry=self.registry)

    def serve(self, settings: Settings, bases: Iterable[str], reports: ReportPipe) -> None:
        """Answers scrapes if the settings say so, with what the child reports too.

        Raises: ConfigError.
        """
        # From the first scrape on, so that the first increase of each is seen.
        for reason in HELD:
            self._held.labels(reason)
        for base in bases:
            self._begin(base)
        self.state("loading", 0)
        if serve(self.registry, settings):
            listen = threading.Thread(
                target=self._listen, args=[reports], name="reports", daemon=True
            )
            listen.start()

    def claimed(self, job: Job) -> None:
        """Counts an attempt, and for the first one how long its job has waited."""
        base = job.spec.model
        self._attempts.labels(base).inc()
        if job.attempt > 1:
            log.info(
                "job %s: attempt %d, %.1f s after its submit", job.id, job.attempt, job.queue_s
            )
            return
        self.waited(base, job.queue_s, job.predicted_s)
        if job.predicted_s is None:
            log.info("job %s waited %.1f s", job.id, job.queue_s)
        else:
            text = "job %s waited %.1f s, %.1f s were predicted"
            log.info(text, job.id, job.queue_s, job.predicted_s)

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

    def state(self, state: str, leases: int) -> None:
        """Shows what the worker does now."""
        for name in STATES:
            self._state.labels(name).set(name == state)
        self._leases.set(leases)

    def reported(self, report: Report) -> None:
        """Observes what the child has measured."""
        match report:
            case AttemptReport():
                self._attempt(report)
            case FetchReport():
                self._ahead.labels(report.base, "fetched" if report.fetched else "failed").inc()

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

    def _listen(self, reports: ReportPipe) -> None:
        for report in reports.received():
            self.reported(report)


class CourierMetrics(_Metrics):
    """The metrics of one courier."""

    def __init__(self) -> None:
        super().__init__("courier")
        self._rounds = self._count("rounds", "Rounds of housekeeping, by result", "result")
        self._minted = self._count("minted_tickets", "Tickets that replaced lost ones", "base")
        self._erased = self._count("erased_jobs", "Jobs erased after their retention")
        self._deliveries = self._count("deliveries", "Tries to send a webhook", "result")
        self._latency = self._seconds("delivery", "How long a receiver took to answer one try")

    def serve(self, settings: Settings, bases: Iterable[str], tally: TallyKeeper) -> None:
        """Answers scrapes if the settings say so.

        Raises: ConfigError.
        """
        self.registry.register(_Outbox(tally))
        for result in ROUNDS:
            self._rounds.labels(result)
        for result in DELIVERIES:
            self._deliveries.labels(result)
        for base in bases:
            self._put_back.labels(base)
            self._minted.labels(base)
        serve(self.registry, settings)

    def round(self, result: str) -> None:
        """Counts a round, by one of the results `ROUNDS`."""
        self._rounds.labels(result).inc()

    def minted(self, base: str, count: int) -> None:
        """Counts tickets that were missing."""
        self._minted.labels(base).inc(count)

    def erased(self) -> None:
        """Counts a job that was kept long enough."""
        self._erased.inc()

    def delivered(self, result: str, seconds: float | None) -> None:
        """Counts a try, by one of the results `DELIVERIES`; None if nobody was asked."""
        self._deliveries.labels(result).inc()
        if seconds is not None:
            self._latency.observe(seconds)


class _Outbox(Collector):
    """How many webhooks are not settled, looked up at each scrape."""

    def __init__(self, tally: TallyKeeper) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        outbox = GaugeMetricFamily("lorajobs_courier_outbox", "Webhooks that are not settled")
        try:
            outbox.add_metric([], self._tally.tally().unsettled)
        except StoreUnavailable as error:
            # The rest is this process's own, and the scrape goes on without it.
            log.warning("outbox not counted: %s", error.detail)
        yield outbox
