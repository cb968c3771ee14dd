"""What worker and courier have in common that they tell Prometheus; docs/operations.md lists it."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence

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

from lorajobs.errors import ConfigError, StoreUnavailable
from lorajobs.settings import Settings
from lorajobs.store import Rescued

log = logging.getLogger(__name__)

#: Bounds that tell apart a swap from memory and from disk, and a job from its time limit.
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


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


class _LookedUp(Collector):
    """A gauge of the store, asked at each scrape."""

    def __init__(self, name: str, text: str, ask: Callable[[], float]) -> None:
        self._name, self._text, self._ask = name, text, ask

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._text)
        try:
            family.add_metric([], self._ask())
        except StoreUnavailable as error:
            # The rest is this process's own, and the scrape goes on without it.
            log.warning("%s is not known: %s", self._name, error.detail)
        yield family


class ProcessMetrics:
    """What both have: a registry of their own, and a part in the rescue."""

    def __init__(self, process: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"lorajobs_{process}_"
        self._put_back = self.count(
            "rescue_put_back", "Jobs put back for dead workers or a retry", "base"
        )
        self._ended = self.count("rescue_ended", "Jobs that the rescue or their deadline ended")
        # One that changes often is a process that dies again and again.
        self.gauge("start_time_seconds", "When this process began, Unix time").set_to_current_time()

    def rescued(self, rescued: Rescued) -> None:
        """Counts what this process put back or ended for others."""
        for base, count in rescued.waiting_again.items():
            self._put_back.labels(base).inc(count)
        self._ended.inc(rescued.ended)

    def count(self, name: str, text: str, *labels: str) -> Counter:
        """Something that only grows."""
        return Counter(self._prefix + name, text, labels, registry=self.registry)

    def seconds(
        self, name: str, text: str, *labels: str, bounds: Sequence[float] = SECONDS
    ) -> Histogram:
        """A distribution of seconds."""
        name = f"{self._prefix}{name}_seconds"
        return Histogram(name, text, labels, registry=self.registry, buckets=bounds)

    def look_up(self, name: str, text: str, ask: Callable[[], float]) -> None:
        """Something that the store knows; without a sample while it is away."""
        self.registry.register(_LookedUp(self._prefix + name, text, ask))

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Something that rises and falls."""
        return Gauge(self._prefix + name, text, labels, registry=self.registry)
