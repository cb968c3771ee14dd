"""The pipe between a worker's child and its parent."""

import os
import select

from lorajobs.ending import Ending
from lorajobs.jobs import Metrics
from lorajobs.report import AttemptReport, FetchReport, Measurement, Report, ReportPipe

FETCHED = FetchReport(base="demo", fetched=True)


def an_attempt(base: str = "demo") -> AttemptReport:
    metrics = Metrics(queue_s=0.5, swap_s=0.01, swapped=True, tiers={"disk": 2})
    return AttemptReport(base=base, ending=Ending.LOST, service_s=1.5, metrics=metrics)


def received(pipe: ReportPipe, count: int) -> list[Report]:
    waiting = pipe.received()
    return [next(waiting) for _ in range(count)]


def test_reports_arrive_as_they_were_sent() -> None:
    pipe = ReportPipe()
    sent: list[Report] = [an_attempt(), FETCHED, an_attempt("other")]
    for report in sent:
        pipe.send(report)
    assert received(pipe, 3) == sent


def test_a_forked_child_reports_to_its_parent() -> None:
    pipe = ReportPipe()
    pid = os.fork()
    if not pid:
        pipe.send(FETCHED)
        os._exit(0)
    os.waitpid(pid, 0)
    assert received(pipe, 1) == [FETCHED]


def test_a_pipe_that_nobody_reads_stops_nobody() -> None:
    pipe = ReportPipe()
    for _ in range(10_000):
        pipe.send(FETCHED)
    whole = received(pipe, 1000)
    assert whole == [FETCHED] * 1000


def test_what_could_be_torn_is_not_sent() -> None:
    pipe = ReportPipe()
    pipe.send(an_attempt("x" * select.PIPE_BUF))
    pipe.send(FETCHED)
    assert received(pipe, 1) == [FETCHED]


def test_a_stage_counts_also_if_it_fails() -> None:
    measured = Measurement()
    try:
        with measured.timed("swap_s"):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    metrics = measured.metrics(2.0)
    assert metrics.swap_s is not None
    assert (metrics.queue_s, metrics.generate_s, metrics.swapped, metrics.tiers) == (2, *[None] * 3)


def test_a_report_is_what_the_job_shows_and_more() -> None:
    measured = Measurement()
    measured.tiers["applied"] += 1
    measured.swapped = False
    report = measured.report("demo", Ending.SUCCEEDED, 2.0)
    assert report.metrics == measured.metrics(2.0)
    assert report.metrics.tiers == {"applied": 1}
    assert report.service_s >= 0
