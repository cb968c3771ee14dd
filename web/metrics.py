"""`/metrics`: the queues as Prometheus reads them.

All of it is looked up in the store at each scrape, so that it does not matter which of several
processes answers, and none of it is lost when they start anew.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from lorajobs.errors import StoreUnavailable
from lorajobs.store import DRAINING, UNLOADED, WorkerState
from lorajobs.tally import NO_JOBS, NO_TOTALS, BaseCount, Tally, Totals
from web.deps import Deps, deps

log = logging.getLogger(__name__)

metrics = Blueprint("metrics", __name__)

_STATES = ("loading", "warm", UNLOADED, DRAINING)


@metrics.get("/metrics")
def index() -> Response:
    """Shows the metrics, in the format that the scraper asks for."""
    registry = CollectorRegistry()
    registry.register(_Queues(deps()))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


class _Queues(Collector):
    """All bases: those configured, and those that jobs still wait for or run on."""

    def __init__(self, parts: Deps) -> None:
        self._deps = parts

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "lorajobs_up", "1 if the API reaches this part, else 0", labels=["part"]
        )
        try:
            tally, workers = self._deps.tally.tally(), self._deps.fleet.workers()
            listeners = self._deps.listeners.counts()
            up.add_metric(["store"], 1)
        except StoreUnavailable as error:
            # An answer, not an error: Prometheus would take that for an API that is down.
            log.warning("metrics without the store: %s", error.detail)
            up.add_metric(["store"], 0)
            yield up
            return
        bases = self._bases(tally)
        yield from self._of_bases(bases, workers)
        yield from _of_the_past({base: tally.totals.get(base, NO_TOTALS) for base in bases})
        yield from _of_webhooks(tally)
        yield _gauge("jobs_delayed", "Jobs held back until their next attempt", tally.delayed)
        yield from _of_listeners(listeners)
        try:
            yield self._tickets()
            up.add_metric(["broker"], 1)
        except StoreUnavailable as error:
            log.warning("metrics without tickets: %s", error.detail)
            up.add_metric(["broker"], 0)
        yield up

    def _bases(self, tally: Tally) -> Mapping[str, BaseCount]:
        configured = self._deps.catalog.models
        left = {m: c for m, c in tally.bases.items() if m not in configured and any(c)}
        return {model: tally.bases.get(model, NO_JOBS) for model in configured} | left

    def _of_bases(
        self, bases: Mapping[str, BaseCount], workers: Sequence[WorkerState]
    ) -> Iterator[Metric]:
        def each(name: str, text: str, value: Callable[[str, BaseCount], float]) -> Metric:
            family = GaugeMetricFamily(f"lorajobs_{name}", text, labels=["base"])
            for base, count in bases.items():
                family.add_metric([base], value(base, count))
            return family

        def unserved(base: str, count: BaseCount) -> int:
            taken = any(worker.serves(base) and worker.takes_jobs for worker in workers)
            return 0 if taken else count.waiting

        yield each("jobs_waiting", "Jobs that wait to be claimed", lambda _, c: c.waiting)
        yield each("jobs_running", "Jobs that a worker holds", lambda _, c: c.running)
        yield each("jobs_unserved", "Jobs that wait and that no live worker takes", unserved)
        yield each(
            "oldest_waiting_seconds",
            "Since the submit of the job at the head of the queue; 0 if none waits",
            lambda _, c: c.oldest_s or 0,
        )
        alive = GaugeMetricFamily("lorajobs_workers", "Live workers", labels=["base", "state"])
        counts = Counter((worker.model, worker.state) for worker in workers)
        for base in bases:
            for state in _STATES:
                alive.add_metric([base, state], counts[base, state])
        yield alive

    def _tickets(self) -> Metric:
        family = GaugeMetricFamily("lorajobs_tickets", "Tickets on the broker", labels=["base"])
        for entry in self._deps.catalog.models.values():
            family.add_metric([entry.id], self._deps.queue.depth(entry.queue))
        return family


def _of_the_past(totals: Mapping[str, Totals]) -> Iterator[Metric]:
    """What only grows, whichever workers there were."""

    def each(name: str, text: str, value: Callable[[Totals], float]) -> Metric:
        family = CounterMetricFamily(f"lorajobs_{name}", text, labels=["base"])
        for base, found in totals.items():
            family.add_metric([base], value(found))
        return family

    ended = CounterMetricFamily(
        "lorajobs_jobs_ended", "Jobs that ended, by how", labels=["base", "status", "code"]
    )
    for base, found in totals.items():
        # From the first scrape on, so that the first increase of each is seen.
        for how, count in {("succeeded", ""): 0, **found.ended}.items():
            ended.add_metric([base, *how], count)
    yield ended
    yield each("pictures", "Pictures made", lambda t: t.pictures)
    yield each("gpu_seconds", "Time of a GPU that ended jobs took", lambda t: t.gpu_s)
    yield each("leases_lost", "Leases that ran out: a worker died", lambda t: t.lost)


def _of_webhooks(tally: Tally) -> Iterator[Metric]:
    yield _gauge("webhooks_unsettled", "Webhooks not yet delivered or given up", tally.unsettled)
    yield _gauge("webhooks_due", "Webhooks to be sent now", tally.due)
    yield _gauge("webhooks_overdue", "Webhooks due for more than 30 s", tally.overdue)


def _of_listeners(counts: Mapping[str, int]) -> Iterator[Metric]:
    text = "Requests that follow a job or wait for its end"
    yield _gauge("listeners", f"{text}, in all processes", sum(counts.values()))
    most = max(counts.values(), default=0)
    yield _gauge("listeners_of_fullest", f"{text}, in the process that has most", most)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"lorajobs_{name}", text, value)
