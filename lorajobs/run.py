"""Runs one attempt to its end, whatever happens, and tells the store how it ended."""

import logging
from collections.abc import Callable
from functools import partial

from lorajobs import logs
from lorajobs.attempt import FOREVER, Attempt, Bench
from lorajobs.ending import Ending
from lorajobs.engine.base import DeviceFault
from lorajobs.errors import (
    EngineFailed,
    JobCanceled,
    LeaseLost,
    LoraJobsError,
    OutOfMemory,
    WorkerStopping,
)
from lorajobs.jobs import JobStatus, Lease, Outcome
from lorajobs.patience import patiently

log = logging.getLogger(__name__)

#: How an attempt ended, and why.
End = tuple[Ending, str]
#: What nobody needs to look into.
_AS_PLANNED = (Ending.SUCCEEDED, Ending.CANCELED, Ending.HANDED_BACK)
_LOST: End = Ending.LOST, "another attempt owns the job"


def run(bench: Bench, lease: Lease) -> End | None:
    """Runs an attempt until its pictures are made, and says how it ended if it did.

    None if the pictures are left to the finisher, which goes on while the next job runs; then
    `bench.tell` hears of the end. Raises: DeviceFault, and then this process is of no more use.
    """
    if bench.finisher.has(lease):
        # Its ticket came back, as it does when it could not be acknowledged.
        return None
    job = patiently(lambda: bench.store.get(lease.job_id))
    attempt = Attempt(bench, lease, job)
    try:
        with attempt.about():
            end = _end(attempt, bench, lease, attempt.generate)
    finally:
        bench.page.say_loaded(bench.bases.applied())
        bench.page.say_resident(bench.bases.resident())
        bench.page.say_alive(FOREVER)
    if end is None:
        bench.finisher.take(lease, partial(_finish, attempt, bench, lease))
    return end


def _finish(attempt: Attempt, bench: Bench, lease: Lease) -> None:
    with attempt.about():
        end = _end(attempt, bench, lease, attempt.store)
    if end is not None:
        ending, reason = end
        bench.tell(lease, attempt.report(ending), reason)


def _end(
    attempt: Attempt, bench: Bench, lease: Lease, work: Callable[[], Outcome | None]
) -> End | None:
    """Does a part of the work; None if it leaves more to do."""
    end: End | None = (Ending.LOST, "nobody could be told")
    try:
        end = _ended(attempt, bench, lease, work)
    except DeviceFault:
        # Its parent counts it, once this process has ended.
        end = None
        raise
    finally:
        if end is not None:
            report = attempt.report(end[0])
            bench.page.reports.send(report)
            _log_end(end, report.service_s)
    return end


def _log_end(end: End, service_s: float) -> None:
    ending, reason = end
    level = logging.INFO if ending in _AS_PLANNED else logging.WARNING
    event = ending.value.replace("_", " ")
    logs.step(event, level, reason=reason or None, service_ms=logs.ms(service_s))


def _ended(
    attempt: Attempt, bench: Bench, lease: Lease, work: Callable[[], Outcome | None]
) -> End | None:
    try:
        outcome = work()
    except JobCanceled:
        outcome = attempt.outcome(JobStatus.CANCELED)
    except WorkerStopping:
        return attempt.hand_back()
    except LeaseLost:
        return _LOST
    except DeviceFault:
        raise
    except Exception as error:
        return attempt.give_up(_as_ours(error))
    if outcome is None:
        return None
    ended = outcome
    if not patiently(lambda: bench.store.finish(lease, ended)):
        return _LOST
    return Ending(ended.status), ""


def _as_ours(error: Exception) -> LoraJobsError:
    # A bare MemoryError that reached Celery would end the worker's main process.
    if isinstance(error, MemoryError):
        return OutOfMemory("the host ran out of memory")
    if isinstance(error, LoraJobsError):
        return error
    log.exception("attempt failed")
    return EngineFailed(f"{type(error).__name__}: {error}")
