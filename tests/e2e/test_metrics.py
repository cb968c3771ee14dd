"""API, worker and courier are scraped after some jobs, and the figures add up."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from bench.commands import Load, Server
from bench.one_worker import ask
from lorajobs.redis_client import connect
from tests.queries import alert_queries, dashboard_queries, series, unknown
from tests.scrape import Scrape, documented
from tests.services.line import Line, children_of, line
from tests.services.receiver import Receiver, receiver
from tests.services.server import HOST, free_ports
from tests.services.valkey import valkey

#: One after the other: a swap, none, one to the base alone, one back; then a job that fails.
LORAS = ["pixel", "pixel", None, "pixel"]
LISTEN = "0A"


class Plant(NamedTuple):
    """A line whose courier and painter are scraped at these ports."""

    line: Line
    courier: int
    painter: int


@pytest.fixture(scope="module")
def hooked() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, hooked: Receiver) -> Iterator[Plant]:
    """Some jobs have ended there, and their webhooks have come."""
    folder = tmp_path_factory.mktemp("metrics")
    with valkey(tmp_path_factory.mktemp("metrics-valkey")) as server:
        env = {"LORAJOBS_REDIS_URL": server.url, "LORAJOBS_WEBHOOK_RETRY_S": "[0.1]"}
        with line(folder, **env) as made:
            made.start_api()
            made_plant = Plant(made, *free_ports(2))
            start_courier(made_plant)
            made.start_painter(step_s=0.05, LORAJOBS_METRICS_PORT=str(made_plant.painter))
            work(made, hooked)
            yield made_plant


def start_courier(plant: Plant) -> None:
    port = str(plant.courier)
    plant.line.start("courier", "-m", "lorajobs", "courier", LORAJOBS_METRICS_PORT=port)
    plant.line.until(lambda: listens(plant.courier), "the courier is scraped")


def work(made: Line, hooked: Receiver) -> None:
    hooked.statuses = [503]
    for name in LORAS:
        loras = [{"id": name}] if name else []
        made.run(loras=loras, webhook={"url": hooked.url + "/done"})
    failed = made.submit("fail:bad_picture")
    assert made.ended(failed["id"])["status"] == "failed"
    hooked.wait(len(LORAS) + 1)


def listens(port: int) -> bool:
    try:
        scraped(port)
    except httpx.TransportError:
        return False
    return True


def scraped(port: int) -> Scrape:
    reply = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False)
    return Scrape(reply.raise_for_status().text)


def test_every_process_exposes_what_the_document_lists(plant: Plant) -> None:
    assert scraped(plant.line.port).rows() == documented("API")
    assert scraped(plant.painter).rows() == documented("Worker")
    assert scraped(plant.courier).rows() == documented("Courier")


def test_alerts_and_dashboard_ask_for_nothing_that_no_process_exports(plant: Plant) -> None:
    ports = (plant.line.port, plant.painter, plant.courier)
    rows = set().union(*(scraped(port).rows() for port in ports))
    queries = [*alert_queries(), *dashboard_queries()]
    assert len(queries) > 50
    assert {query: faults for query in queries if (faults := unknown(query, rows))} == {}
    asked = {found.name for query in queries for found in series(query)}
    for needed in ("lorajobs_pictures_total", "lorajobs_jobs_ended_total", "lorajobs_tickets"):
        assert needed in asked
    # It would see a typing error.
    assert unknown('sum by (bse) (lorajobs_tickets{pase="demo"})', rows) == [
        "lorajobs_tickets{pase}",
        "by bse",
    ]
    assert unknown("lorajobs_ticket", rows) == ["lorajobs_ticket"]


def test_a_worker_counts_each_job_once(plant: Plant) -> None:
    jobs, attempts = "lorajobs_worker_jobs_total", len(LORAS) + 1
    # The last report is written after the job's end, which the test has already seen.
    plant.line.until(lambda: scraped(plant.painter).value(jobs) == attempts, "all is reported")
    seen = scraped(plant.painter)
    assert seen.value(jobs, base="demo", outcome="succeeded") == len(LORAS)
    assert seen.value(jobs, base="demo", outcome="failed") == 1
    assert seen.value("lorajobs_worker_attempts_total") == attempts
    assert seen.value("lorajobs_worker_wait_seconds_count") == attempts
    assert seen.value("lorajobs_worker_service_seconds_count") == attempts
    assert seen.value("lorajobs_worker_upload_seconds_count") == len(LORAS)
    adapters = "lorajobs_worker_adapters_total"
    assert seen.value(adapters, tier="applied") == 1
    assert seen.value(adapters) == 3
    # The job that fails runs on the base alone, so it is a swap too.
    assert seen.value("lorajobs_worker_swap_seconds_count") == 4
    busy = seen.value("lorajobs_worker_gpu_busy_seconds_total")
    assert 0 < busy <= seen.value("lorajobs_worker_service_seconds_sum")
    assert seen.value("lorajobs_worker_state", state="warm") == 1
    plant.line.until(
        lambda: scraped(plant.painter).value("lorajobs_worker_leases") == 0, "it looked again"
    )


def test_predicted_starts_are_compared_with_actual_ones(plant: Plant) -> None:
    # Nothing is predicted before the first job of a base has ended.
    predicted = len(LORAS)
    errors = scraped(plant.painter).value("lorajobs_worker_start_error_seconds_count")
    assert errors == predicted
    log = (plant.line.folder / "painter.log").read_text()
    assert log.count(" predicted_ms=") == predicted


def test_a_courier_counts_each_delivery(plant: Plant) -> None:
    deliveries = "lorajobs_courier_deliveries_total"

    def settled() -> bool:
        seen = scraped(plant.courier)
        return seen.value(deliveries) == len(LORAS) + 1 and not seen.value(
            "lorajobs_courier_outbox"
        )

    plant.line.until(settled, "all webhooks are settled")
    seen = scraped(plant.courier)
    assert seen.value(deliveries, result="delivered") == len(LORAS)
    assert seen.value(deliveries, result="retried") == 1
    assert seen.value("lorajobs_courier_delivery_seconds_count") == len(LORAS) + 1
    assert seen.value("lorajobs_courier_rounds_total", result="done") > 0


def test_the_api_shows_an_empty_queue_with_a_warm_worker(plant: Plant) -> None:
    seen = scraped(plant.line.port)
    for name in ("jobs_waiting", "jobs_running", "jobs_unserved", "oldest_waiting_seconds"):
        assert seen.value(f"lorajobs_{name}", base="demo") == 0
    assert seen.value("lorajobs_workers", base="demo", state="warm") == 1
    assert seen.value("lorajobs_up") == 2


def test_what_a_worker_asks_of_the_store_is_counted(plant: Plant) -> None:
    url = plant.line.env["LORAJOBS_REDIS_URL"]
    client = connect(url)
    server = Server(client, client.info()["process_id"])
    asked = ask(plant.line, server, Load({}, 0), 0.5, 1)
    client.close()
    # A script for the submit, the claim and the end, and what both sides read.
    assert asked.busy.scripts >= 3
    assert asked.per_job() > asked.busy.scripts
    assert asked.idle_per_s() > 1


def test_a_taken_port_ends_the_process_with_the_reason(plant: Plant) -> None:
    port = str(plant.courier)
    second = plant.line.start("taken", "-m", "lorajobs", "courier", LORAJOBS_METRICS_PORT=port)
    assert second.wait(60) != 0
    log = (plant.line.folder / "taken.log").read_text()
    assert f"LORAJOBS_METRICS_PORT: nothing can listen on {HOST} port {port}" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("program", ["courier", "painter"])
def test_without_the_setting_no_port_is_open(plant: Plant, program: str) -> None:
    if program == "painter":
        process = plant.line.start_painter("unscraped")
    else:
        process = plant.line.start_courier()
        plant.line.until(lambda: b" ready" in last_log(plant.line, "courier"), "it is ready")
    assert listening(process.pid) == set()
    for child in children_of(process.pid):
        assert listening(child) == set()
    plant.line.stop([process])


def test_an_attempt_that_its_child_could_not_end_is_counted(plant: Plant) -> None:
    before = scraped(plant.painter)
    job = plant.line.submit(num_inference_steps=40)
    plant.line.reached(job["id"], lambda found: found["progress"]["step"] > 0)
    (painter,) = plant.line.named("painter")
    (child,) = children_of(painter.pid)
    os.kill(child, signal.SIGKILL)
    assert plant.line.ended(job["id"])["attempts"] == 2

    def more(name: str, **labels: str) -> float:
        return scraped(plant.painter).value(name, **labels) - before.value(name, **labels)

    jobs = "lorajobs_worker_jobs_total"
    plant.line.until(lambda: more(jobs) == 2, "both attempts are counted")
    assert more(jobs, outcome="requeued") == more(jobs, outcome="succeeded") == 1
    assert more("lorajobs_worker_attempts_total") == 2
    # The second claim is no first one.
    assert more("lorajobs_worker_wait_seconds_count") == 1


def test_a_child_that_outlives_its_parent_keeps_no_port(plant: Plant) -> None:
    (first,) = plant.line.named("painter")
    children = children_of(first.pid)
    assert listening(first.pid)
    for child in children:
        assert not listening(child)
        os.kill(child, signal.SIGSTOP)
    first.kill()
    first.wait()
    plant.line.start_painter("heir", LORAJOBS_METRICS_PORT=str(plant.painter))
    assert scraped(plant.painter).value("lorajobs_worker_attempts_total") == 0


def last_log(made: Line, name: str) -> bytes:
    return (made.folder / f"{name}.log").read_bytes()


def listening(pid: int) -> set[str]:
    """The inodes of the sockets on which a process listens, on Linux."""
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    open_here = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        # One that was closed since it was listed is no socket that listens.
        with suppress(FileNotFoundError):
            open_here.add(os.readlink(file))
    return {row[9] for row in rows if row[3] == LISTEN and f"socket:[{row[9]}]" in open_here}
