"""A ticket is exchanged for a job when it reaches an idle worker, in the worker's parent.

Celery's hooks for this are `Task.Strategy`, which sees a message before anything else does, and
`Task.Request`, which hears of the ends that a child cannot report itself. The Celery request is
built under the claimed job's id, so Flower, `inspect`, revoke and time limits speak of jobs.
What is used of Celery's internals is pinned by tests/contract/test_celery_internals.py.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from billiard.exceptions import Terminated, WorkerLostError
from celery import Task
from celery.worker import state as celery_state
from celery.worker.request import Request
from celery.worker.strategy import default as default_strategy

from lorajobs import logs
from lorajobs.bases import LOAD_S
from lorajobs.celery import KILL_GRACE_S
from lorajobs.ending import Ending
from lorajobs.errors import LoraJobsError, StoreUnavailable, TimeLimit, WorkerLost
from lorajobs.jobs import Job, JobStatus, Lease, Outcome
from lorajobs.parent import AdaptersOnTheWay, BaseElsewhere, Held, Parent
from lorajobs.settlement import Settlement

log = logging.getLogger(__name__)

#: Seconds before a held ticket is looked at again; one that only waits for adapters, which the
#: child was asked for at once, adds half of that to their download.
HOLD_S, FETCH_HOLD_S = 0.2, 0.05
#: Seconds between two tickets that are passed on to other workers.
PASS_S = 1.0


def held_leases() -> Sequence[Lease]:
    """The leases of the requests that this worker holds."""
    # A copy in one step: the set changes while other threads look.
    held = tuple(celery_state.reserved_requests)
    return [request.lease for request in held if isinstance(request, JobRequest)]


class _Exchanged:
    """The ticket's message with the claimed job's id and arguments in place of its own."""

    content_type, content_encoding = "application/json", "utf-8"

    def __init__(self, message: Any, job: Job, limit_s: float) -> None:  # noqa: ANN401
        """`limit_s` is when the child is killed."""
        self._message = message
        loras = [f"{use.adapter.id}:{use.scale:g}" for use in job.spec.loras]
        args, kwargs = (job.id, job.attempt), {"model": job.spec.model, "loras": loras}
        self.headers: Mapping[str, object] = {
            **message.headers,
            "id": job.id,
            "root_id": job.id,
            "retries": job.attempt - 1,
            "argsrepr": repr(args),
            "kwargsrepr": repr(kwargs),
            "timelimit": (limit_s, None),
            "request_id": job.spec.request_id,
        }
        self.payload = [list(args), kwargs, {}]
        self.body = json.dumps(self.payload)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._message, name)


class JobRequest(Request):
    """A claimed job as Celery's parent process sees it."""

    @property
    def _parent(self) -> Parent:
        parent: Parent = self.task.parent
        return parent

    @property
    def _base(self) -> str:
        return str(self._payload[1]["model"])

    @property
    def lease(self) -> Lease:
        """The attempt that this request runs."""
        job_id, attempt = self._payload[0]
        return Lease(job_id, attempt)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """The child died: the job goes back at once."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt | Terminated):
            # Its end may be the shutdown's, and that costs no attempt.
            self._release("the worker's child died", refund=self._parent.page.is_stopping())
        return super().on_failure(exc_info, *args, **kwargs)

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: ANN401
        """Success is told once the pictures are stored, see `tasks/generate.py`."""
        if type != "task-succeeded":
            super().send_event(type, **fields)

    def on_retry(self, exc_info: Any) -> None:  # noqa: ANN401
        """The child put the job back: after a shutdown's grace its ticket goes back too."""
        if self._parent.page.must_stop():
            self.reject(requeue=True)
        super().on_retry(exc_info)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The child did not stop at `max_runtime_s` and is killed."""
        if not soft:
            error = TimeLimit(f"killed after {timeout:g} seconds").as_job_error()
            self._end(Outcome(status=JobStatus.FAILED, error=error))
        super().on_timeout(soft, timeout)

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ANN401
        """Flower's terminate: ask first, kill after `cancel_grace_s` if the child does not stop."""
        lease = self.lease
        self._parent.page.ask_cancel(lease)

        def kill() -> None:
            if self in celery_state.active_requests:
                super(JobRequest, self).terminate(pool, signal)

        self.task.timer.call_after(self._parent.settings.cancel_grace_s, kill)

    def _announce_cancelled(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._release("the worker is shutting down", refund=True)
        super()._announce_cancelled(*args, **kwargs)

    def _announce_revoked(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._end(Outcome(status=JobStatus.CANCELED))
        super()._announce_revoked(*args, **kwargs)

    def _release(self, reason: str, *, refund: bool) -> None:
        # Celery returns the ticket itself (reject), so none is pushed here.
        error = WorkerLost(reason).as_job_error()
        status = self._told(lambda: self._parent.store.requeue(self.lease, error, refund=refund))
        self._parent.metrics.ended(self._base, Ending.after_requeue(status, refund=refund))
        if status is JobStatus.QUEUED:
            self.send_event("task-retried", exception=reason)
        with self._about():
            what = "handed back" if refund else "requeued"
            event = what if status is JobStatus.QUEUED else str(status or "lost")
            logs.step(event, logging.WARNING, reason=reason)

    def _end(self, outcome: Outcome) -> None:
        done = self._told(lambda: self._parent.store.finish(self.lease, outcome))
        ending = Ending(outcome.status.value) if done else Ending.LOST
        self._parent.metrics.ended(self._base, ending)
        with self._about():
            code = outcome.error.code if outcome.error else None
            logs.step(ending.value, logging.WARNING, code=code)

    def _about(self) -> AbstractContextManager[None]:
        job_id, attempt = self.lease
        request_id = self.request_dict.get("request_id", "")
        return logs.about(job=job_id, attempt=attempt, base=self._base, request_id=request_id)

    def _told(self, write: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return write()
        except StoreUnavailable as error:
            log.error("job %s: left to the rescue: %s", self.lease.job_id, error)
            return None


class TicketDesk:
    """Exchanges the tickets that reach one consumer for jobs."""

    def __init__(self, parent: Parent, consumer: Any, handle: Callable[..., None]) -> None:  # noqa: ANN401
        """`handle` is what Celery does with a message that may run."""
        self._parent = parent
        self._consumer = consumer
        self._handle = handle
        #: until when, by the monotonic clock, no ticket is passed on to another worker again
        self._passed_until = 0.0
        #: True while the adapters that its ticket waits for were asked for
        self._has_rung = False

    def receive(self, message: Any, *rest: Any) -> None:  # noqa: ANN401
        """Starts a job for the ticket, or keeps the ticket, or returns it.

        `rest` is body, ack, reject and callbacks, as Celery gives them.
        """
        parent, page = self._parent, self._parent.page
        if parent.is_draining():
            Settlement(message, self._consumer).reject(requeue=True)
            return
        # Not ready, or still busy after a reconnect: the job must stay free for others.
        if held_leases():
            self._hold("busy", message, *rest)
        elif not page.is_ready(self._consumer.pool.info["processes"]):
            self._hold("loading", message, *rest)
        else:
            self._exchange(message, *rest)

    def _exchange(self, message: Any, *rest: Any) -> None:  # noqa: ANN401
        ticket, queue = str(message.headers["id"]), message.delivery_info["routing_key"]
        try:
            job = self._parent.claim(ticket, queue)
        except BaseElsewhere as error:
            if error.idle and time.monotonic() >= self._passed_until:
                # To who is idle with that base; if it comes back, somebody was faster.
                self._passed_until = time.monotonic() + PASS_S
                Settlement(message, self._consumer).reject(requeue=True)
            else:
                self._hold(error.reason, message, *rest)
        except AdaptersOnTheWay as error:
            if not self._has_rung:
                self._parent.page.bell.ring()
            self._hold(error.reason, message, *rest, within_s=FETCH_HOLD_S)
            self._has_rung = True
            return
        except Held as error:
            self._hold(error.reason, message, *rest)
        except LoraJobsError as error:
            log.warning("ticket held: %s", error)
            self._hold("error", message, *rest)
        except Exception:
            # Out of here it would end the worker, and the next one with the same ticket.
            log.exception("ticket held")
            self._hold("error", message, *rest)
        else:
            self._start(job, message, rest[-1])
        self._has_rung = False

    def _start(self, job: Job | None, message: Any, callbacks: Any) -> None:  # noqa: ANN401
        settle = Settlement(message, self._consumer)
        if job is None:
            settle.ack()
            return
        parent = self._parent
        parent.metrics.claimed(job, parent.page.resident())
        with logs.about_job(job):
            logs.step(
                "claimed", wait_ms=logs.ms(job.queue_s), predicted_ms=logs.ms(job.predicted_s)
            )
        # From here on the child is expected to move.
        parent.page.say_alive(parent.settings.step_timeout_s)
        # Loading a base is not the job's own time.
        load_s = 0.0 if job.spec.model == parent.base else LOAD_S
        exchanged = _Exchanged(message, job, parent.settings.max_runtime_s + KILL_GRACE_S + load_s)
        self._handle(exchanged, None, settle.ack, settle.reject, callbacks)

    def _hold(self, reason: str, *delivery: Any, within_s: float = HOLD_S) -> None:  # noqa: ANN401
        self._parent.metrics.held(reason)
        self._consumer.timer.call_after(within_s, self.receive, delivery)


class TicketTask(Task):
    """Base of the one task that tickets name."""

    Request = "lorajobs.claim:JobRequest"
    acks_late = True
    reject_on_worker_lost = True
    #: set by the worker before it starts to consume
    parent: ClassVar[Parent]
    timer: ClassVar[Any]

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Callable[..., None]:  # noqa: ANN401
        """Builds the function that every message of this task goes through."""
        TicketTask.timer = consumer.timer
        handle = default_strategy(task, app, consumer)
        return TicketDesk(type(self).parent, consumer, handle).receive
