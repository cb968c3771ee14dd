"""What workers and couriers count, and how it is served."""

import socket
from typing import Any

import httpx
import pytest

from lorajobs.adapters.census import Census
from lorajobs.courier_metrics import CourierMetrics
from lorajobs.ending import Ending
from lorajobs.errors import ConfigError
from lorajobs.jobs import Job, JobStatus, Metrics
from lorajobs.metrics import serve
from lorajobs.report import AttemptReport, CanaryReport, FetchReport, ReportPipe
from lorajobs.settings import Settings
from lorajobs.store import Rescued
from lorajobs.testing import MemoryJobStore, MemoryTally
from lorajobs.worker_metrics import WorkerMetrics
from tests.jobs import a_job, use
from tests.scrape import Scrape, documented
from tests.services.server import HOST, free_ports
from tests.unit.web.test_metrics import DownTally


@pytest.fixture
def worker() -> WorkerMetrics:
    metrics = WorkerMetrics()
    metrics.serve(Settings(), ["demo"], ReportPipe())
    return metrics


@pytest.fixture
def courier() -> CourierMetrics:
    metrics = CourierMetrics()
    metrics.serve(Settings(), ["demo"], MemoryTally(MemoryJobStore()))
    return metrics


def claimed(attempt: int = 1, predicted_s: float | None = None) -> Job:
    changes = {"attempt": attempt, "started_ms": 12_300, "predicted_s": predicted_s}
    return a_job().model_copy(update=changes)


def ended(ending: Ending = Ending.SUCCEEDED, **metrics: Any) -> AttemptReport:
    return AttemptReport(base="demo", ending=ending, service_s=2.0, metrics=Metrics(**metrics))


def test_the_document_lists_just_what_there_is(
    worker: WorkerMetrics, courier: CourierMetrics
) -> None:
    assert Scrape.of(worker.registry).rows() == documented("Worker")
    assert Scrape.of(courier.registry).rows() == documented("Courier")


def test_withheld_pictures_are_counted(worker: WorkerMetrics) -> None:
    worker.reported(ended().model_copy(update={"withheld": 3}))
    worker.reported(ended())
    scrape = Scrape.of(worker.registry)
    assert scrape.value("lorajobs_worker_withheld_pictures_total", base="demo") == 3


def test_a_wait_is_compared_with_its_prediction(worker: WorkerMetrics) -> None:
    for job in (claimed(predicted_s=11.0), claimed(), claimed(attempt=2, predicted_s=11.0)):
        worker.claimed(job)
    seen = Scrape.of(worker.registry)
    assert seen.value("lorajobs_worker_attempts_total", base="demo") == 3
    assert seen.value("lorajobs_worker_wait_seconds_count") == 2
    assert seen.value("lorajobs_worker_wait_seconds_sum") == pytest.approx(24.6)
    error = "lorajobs_worker_start_error_seconds_bucket"
    assert [seen.value(error, le=bound) for bound in ("1.0", "3.0", "+Inf")] == [0, 1, 1]


def test_a_job_that_starts_early_is_an_error_too(worker: WorkerMetrics) -> None:
    worker.waited("demo", 2.0, 10.0)
    seen = Scrape.of(worker.registry)
    error = "lorajobs_worker_start_error_seconds_bucket"
    assert [seen.value(error, le=bound) for bound in ("-10.0", "-3.0")] == [0, 1]


def test_an_attempt_is_observed_in_its_stages(worker: WorkerMetrics) -> None:
    stages: dict[str, Any] = {"fetch_s": 0.1, "generate_s": 1.0, "upload_s": 0.2}
    tiers = {"disk": 1, "remote": 1}
    worker.reported(ended(swap_s=0.004, swapped=True, tiers=tiers, **stages))
    worker.reported(ended(swap_s=0.001, swapped=False, tiers={"applied": 2}, **stages))
    worker.reported(ended(Ending.REQUEUED, fetch_s=0.1))
    seen = Scrape.of(worker.registry)
    counts = [
        seen.value(f"lorajobs_worker_{stage}_seconds_count")
        for stage in ("service", "fetch", "swap", "generate", "upload")
    ]
    assert counts == [3, 3, 1, 2, 2]
    assert seen.value("lorajobs_worker_swap_seconds_bucket", le="0.005") == 1
    assert seen.value("lorajobs_worker_gpu_busy_seconds_total") == pytest.approx(2.005)
    adapters = "lorajobs_worker_adapters_total"
    assert [seen.value(adapters, tier=t) for t in ("applied", "disk", "remote")] == [2, 1, 1]
    jobs = "lorajobs_worker_jobs_total"
    assert [seen.value(jobs, outcome=o) for o in ("succeeded", "requeued", "lost")] == [2, 1, 0]


def test_an_end_that_the_child_cannot_report_counts(worker: WorkerMetrics) -> None:
    for status, refund in ((JobStatus.QUEUED, False), (JobStatus.QUEUED, True), (None, True)):
        worker.ended("demo", Ending.after_requeue(status, refund=refund))
    worker.ended("demo", Ending.after_requeue(JobStatus.FAILED, refund=False))
    seen = Scrape.of(worker.registry)
    jobs = "lorajobs_worker_jobs_total"
    for outcome in ("requeued", "handed_back", "lost", "failed"):
        assert seen.value(jobs, outcome=outcome) == 1


def test_the_rest_of_a_worker(worker: WorkerMetrics) -> None:
    worker.held("adapters")
    worker.state("warm", 1, {10})
    worker.state("warm", 1, ())
    worker.state("warm", 1, {11})
    worker.connected()
    worker.connected()
    worker.rescued(Rescued({"demo": 2}, 1))
    worker.reported(FetchReport(base="demo", fetched=False))
    seen = Scrape.of(worker.registry)
    assert seen.value("lorajobs_worker_held_total", reason="adapters") == 1
    states = [seen.value("lorajobs_worker_state", state=s) for s in ("loading", "warm")]
    assert states == [0, 1]
    assert seen.value("lorajobs_worker_leases") == 1
    assert seen.value("lorajobs_worker_child_restarts_total") == 1
    assert seen.value("lorajobs_worker_reconnects_total") == 1
    assert seen.value("lorajobs_worker_rescue_put_back_total", base="demo") == 2
    assert seen.value("lorajobs_worker_rescue_ended_total") == 1
    assert seen.value("lorajobs_worker_fetched_ahead_total", result="failed") == 1


def test_what_each_look_at_the_weights_found_is_counted(worker: WorkerMetrics) -> None:
    for result in ("sound", "sound", "corrupt"):
        worker.reported(CanaryReport(base="demo", result=result))
    seen = Scrape.of(worker.registry)
    looks = "lorajobs_worker_canary_looks_total"
    assert [seen.value(looks, result=r) for r in ("sound", "corrupt", "failed")] == [2, 1, 0]


def test_adapters_at_hand_and_those_that_had_to_go(worker: WorkerMetrics) -> None:
    job = claimed()
    spec = job.spec.model_copy(update={"loras": (use("a"), use("b"))})
    worker.claimed(job.model_copy(update={"spec": spec}), {use("a").adapter.sha256})
    worker.holds("demo", {"a", "b"}, Census(frozenset("abc"), 30, "disk"))
    worker.holds("demo", {"b", "c"}, Census(frozenset("c"), 10, "disk"))
    seen = Scrape.of(worker.registry)
    held, gone = "lorajobs_worker_adapters_at_hand", "lorajobs_worker_evicted_adapters_total"
    assert [seen.value(held, tier=t) for t in ("memory", "disk")] == [2, 1]
    assert [seen.value(gone, tier=t) for t in ("memory", "disk")] == [1, 2]
    assert seen.value("lorajobs_worker_disk_bytes") == 10
    assert seen.value("lorajobs_worker_adapters_in_memory_total", base="demo") == 1
    # Another base begins with a memory of its own, and another disk with its own files.
    worker.holds("other", {"d"}, Census(frozenset("d"), 10, "other"))
    seen = Scrape.of(worker.registry)
    assert [seen.value(gone, tier=t) for t in ("memory", "disk")] == [1, 2]


def test_a_courier(courier: CourierMetrics) -> None:
    courier.round("done")
    courier.delivered("retried", 0.3)
    courier.delivered("erased", None)
    courier.minted("demo", 4)
    courier.erased()
    seen = Scrape.of(courier.registry)
    assert seen.value("lorajobs_courier_rounds_total", result="done") == 1
    assert seen.value("lorajobs_courier_deliveries_total") == 2
    assert seen.value("lorajobs_courier_delivery_seconds_count") == 1
    assert seen.value("lorajobs_courier_minted_tickets_total", base="demo") == 4
    assert seen.value("lorajobs_courier_erased_jobs_total") == 1
    assert seen.value("lorajobs_courier_outbox") == 0


def test_a_courier_is_scraped_while_the_store_is_down() -> None:
    metrics = CourierMetrics()
    metrics.serve(Settings(), ["demo"], DownTally(MemoryJobStore()))
    missing = documented("Courier") - Scrape.of(metrics.registry).rows()
    assert {row.name for row in missing} == {"lorajobs_courier_outbox"}


def test_without_a_port_nothing_listens(worker: WorkerMetrics) -> None:
    assert not serve(worker.registry, Settings())


def test_a_taken_port_is_named_and_so_is_the_way_out(worker: WorkerMetrics) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"METRICS_PORT.*{port}.*its own port"):
            serve(worker.registry, Settings(metrics_port=port))


def test_what_the_child_reports_is_scraped() -> None:
    (port,) = free_ports(1)
    metrics, pipe = WorkerMetrics(), ReportPipe()
    metrics.serve(Settings(metrics_port=port), ["demo"], pipe)
    pipe.send(ended())
    service = "lorajobs_worker_service_seconds_count"

    def count() -> float:
        reply = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False)
        return Scrape(reply.raise_for_status().text).value(service)

    while not count():
        pass
    assert count() == 1
