"""What happened lately, as an operator sees it."""

from collections.abc import Collection

from lorajobs.adapter_names import AdapterNames, of_uses
from lorajobs.document import timestamp, without_secrets
from lorajobs.jobs import Job
from lorajobs.outbox import DeliveryRecord
from lorajobs.overview import (
    DelayedView,
    DeliveryView,
    FailureView,
    PartView,
    RunView,
    StateView,
    TimelineView,
    WebhooksView,
)
from lorajobs.tally import Tally
from lorajobs.timeline import Part, Run, timeline_of
from lorajobs.watch import Lately

#: Seconds that a worker's strip goes back.
STRIP_S = 300


def timeline_views(
    seen: Lately, alive: Collection[str], names: AdapterNames
) -> tuple[TimelineView, ...]:
    """The strips of the live workers, and of those that went during the time that is shown."""
    since_ms, found = seen.now_ms - 1000 * STRIP_S, []
    for worker, marks in seen.marks.items():
        lives = worker in alive
        if not lives and marks[-1].at_ms < since_ms:
            continue
        told = timeline_of(marks, since_ms)
        states = [StateView(**state._asdict()) for state in told.states]
        runs = [_run(run, names) for run in told.runs]
        found.append(
            TimelineView(worker=worker, alive=lives, states=tuple(states), runs=tuple(runs))
        )
    return tuple(sorted(found, key=lambda view: (not view.alive, view.worker)))


def _run(run: Run, names: AdapterNames) -> RunView:
    return RunView(
        job_id=run.job_id,
        model=run.model,
        loras=names.of_group(run.group),
        since_ms=run.parts[0].since_ms,
        parts=tuple(PartView(kind=part.kind, ms=_lasted(part)) for part in run.parts),
        ended=run.ended,
    )


def _lasted(part: Part) -> int | None:
    return None if part.until_ms is None else part.until_ms - part.since_ms


def delayed_views(seen: Lately) -> tuple[DelayedView, ...]:
    """The jobs that are held back until their next attempt."""
    return tuple(
        DelayedView(
            id=job.id,
            model=job.spec.model,
            owner=job.spec.owner,
            attempts=job.attempt,
            ready_s=round(max(0, ready_ms - seen.now_ms) / 1000, 1),
        )
        for job, ready_ms in seen.delayed
    )


def failure_view(job: Job) -> FailureView:
    """A job that failed."""
    error = job.error
    return FailureView(
        id=job.id,
        model=job.spec.model,
        owner=job.spec.owner,
        loras=of_uses(job.spec.loras),
        attempts=job.attempt,
        worker=job.worker,
        code=error.code if error else "",
        detail=error.detail if error else "",
        retryable=bool(error and error.retryable),
        completed_at=timestamp(job.completed_ms),
    )


def webhooks_view(seen: Lately, tally: Tally) -> WebhooksView:
    """All webhooks that are not settled, and those that failed."""
    return WebhooksView(
        unsettled=tally.unsettled,
        due=tally.due,
        overdue=tally.overdue,
        retried=tuple(map(_delivery, seen.retried)),
        undelivered=tuple(map(_delivery, seen.undelivered)),
    )


def _delivery(record: DeliveryRecord) -> DeliveryView:
    delivery, last = record.delivery, record.log[-1] if record.log else None
    return DeliveryView(
        id=delivery.id,
        job_id=delivery.job_id,
        event=delivery.event,
        url=without_secrets(delivery.url),
        tries=delivery.tries,
        result=last.result if last else "",
        tried_at=timestamp(last.at_ms) if last else None,
        next_try_at=timestamp(record.next_try_ms),
    )
