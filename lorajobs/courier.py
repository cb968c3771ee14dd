"""The courier: rescues jobs of dead workers, replaces lost tickets, sends webhooks."""

import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Protocol

from celery import Celery, bootsteps

from lorajobs.adapters.awaited import sweep
from lorajobs.catalog import Catalog
from lorajobs.celery import COURIER_QUEUE, make_app, take_over_log
from lorajobs.courier_metrics import CourierMetrics
from lorajobs.document import job_document
from lorajobs.errors import JobNotFound, LoraJobsError, StorageUnavailable
from lorajobs.guarded_http import GuardedHttp
from lorajobs.images import Images
from lorajobs.jobs import Job
from lorajobs.prediction import prediction_document
from lorajobs.reach import Reach
from lorajobs.redis_awaited import open_awaited
from lorajobs.redis_images import open_image_records
from lorajobs.redis_secrets import open_webhook_secrets
from lorajobs.redis_store import RedisJobStore, open_job_store
from lorajobs.redis_tally import open_tally
from lorajobs.rescue import MintingQueue, rescue
from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore
from lorajobs.store import Housekeeping
from lorajobs.store_errors import RecordUnreadable
from lorajobs.tasks.deliver import DeliverTask, deliver
from lorajobs.tickets import TicketQueue
from lorajobs.webhooks import WebhookSender, shape_of

log = logging.getLogger(__name__)

#: Deliveries that may wait for a thread, and jobs erased in one round.
BATCH = 32
#: Seconds until the pictures of a job that could not be erased are tried again.
LATER_S = 600.0
#: Many more than one receiver is sent at a time, and nearly always all of them wait for answers.
THREADS = 32
MESSAGES_PER_THREAD = 1
#: Messages that one courier may hold.
PREFETCH = THREADS * MESSAGES_PER_THREAD


class Broker(MintingQueue, Protocol):
    """What the courier asks of the broker."""

    def depth(self, queue: str) -> int:
        """How many tickets wait."""


class Courier:
    """One round of housekeeping after another; any number of couriers may run."""

    def __init__(
        self,
        store: Housekeeping,
        queue: Broker,
        catalog: Catalog,
        objects: ObjectStore,
        images: Images,
        hand_out: Callable[[], None],
        metrics: CourierMetrics,
        sweep_uploads: Callable[[], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._catalog = catalog
        self._objects = objects
        self._images = images
        self._hand_out = hand_out
        self.metrics = metrics
        self._sweep_uploads = sweep_uploads
        self._short: Mapping[str, int] = {}

    def round(self) -> None:
        """Rescues, mints, hands out due webhooks, erases what is spent.

        Raises: StoreUnavailable.
        """
        self.metrics.rescued(rescue(self._store, self._queue, self._catalog))
        self._replace_lost_tickets()
        self._hand_out()
        self._erase_spent()
        self._erase_images()
        self._sweep_uploads()

    def _erase_spent(self) -> None:
        for job_id in self._store.spent(BATCH):
            try:
                # The pictures first: if this fails, the record still tells of them.
                self._objects.delete(Job.folder_of(job_id))
            except (StorageUnavailable, OSError) as error:
                # One that cannot be erased must not hold up the others.
                log.warning("job %s is not erased yet: %s", job_id, error)
                self._store.keep(job_id, LATER_S)
                continue
            with suppress(JobNotFound):
                self._store.delete(job_id)
                self.metrics.erased()

    def _erase_images(self) -> None:
        try:
            self._images.erase_due(BATCH, self._is_job)
        except StorageUnavailable as error:
            log.warning("uploaded pictures are not erased yet: %s", error)

    def _is_job(self, job_id: str) -> bool:
        try:
            self._store.get(job_id)
        except JobNotFound:
            return False
        except RecordUnreadable:
            pass
        return True

    def _replace_lost_tickets(self) -> None:
        # Short twice in a row: once, a ticket may just be between the broker and a claim.
        short = {}
        for model, waiting in self._store.backlog().items():
            entry = self._catalog.models.get(model)
            if entry is not None and waiting:
                short[model] = max(0, waiting - self._queue.depth(entry.queue))
        missing = {m: min(n, self._short.get(m, 0)) for m, n in short.items()}
        self._short = {m: n - missing[m] for m, n in short.items()}
        for model, count in missing.items():
            if count:
                log.info("minting %d tickets for %s", count, model)
                self._queue.publish(self._catalog.models[model].queue, count)
                self.metrics.minted(model, count)


def run_courier(settings: Settings) -> int:
    """Runs one courier until it is told to stop; returns the exit code."""
    name = f"courier-{os.getpid()}@{socket.gethostname()}"
    take_over_log(settings, name)
    app = make_app(settings)
    store = open_job_store(settings)
    objects = open_store(settings)
    catalog = Catalog.load(settings.config)
    metrics = CourierMetrics()
    sender = _sender(settings, store, objects, metrics)
    queue = TicketQueue(app, settings)

    def hand_out(most: int) -> None:
        for delivery in store.due_deliveries(most, sender.hold_s, settings.webhook_per_host):
            deliver.apply_async(args=delivery)

    def fill_up() -> None:
        # Those that wait already come first; more would only lose their hold there.
        room = BATCH - queue.depth(COURIER_QUEUE)
        if room > 0:
            hand_out(room)

    DeliverTask.sender, DeliverTask.hand_out = sender, hand_out
    metrics.serve(settings, catalog.models, open_tally(settings))
    _Rounds.courier = Courier(
        store,
        queue,
        catalog,
        objects,
        Images(settings, open_image_records(settings), objects),
        fill_up,
        metrics,
        partial(sweep, open_awaited(settings), objects, BATCH),
    )
    _Rounds.period_s = settings.sweep_s
    app.steps["consumer"].add(_Rounds)
    return _run(app, name)


def _sender(
    settings: Settings, store: RedisJobStore, objects: ObjectStore, metrics: CourierMetrics
) -> WebhookSender:
    def document(job: Job) -> dict[str, object]:
        if shape_of(job) == "prediction":
            return prediction_document(job, objects, settings.base_url)
        return job_document(job, objects, settings.base_url, None)

    secrets, http = open_webhook_secrets(settings), GuardedHttp(Reach.of_webhooks(settings))
    return WebhookSender(settings, secrets, store, http, document, metrics.delivered)


def _run(app: Celery, name: str) -> int:
    worker = app.Worker(
        hostname=name,
        pool="threads",
        concurrency=THREADS,
        prefetch_multiplier=MESSAGES_PER_THREAD,
        queues=[COURIER_QUEUE],
        without_mingle=True,
        without_gossip=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


class _Rounds(bootsteps.StartStopStep):
    """Makes a round every `sweep_s` seconds."""

    courier: ClassVar[Courier]
    period_s: ClassVar[float]
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(consumer, **kwargs)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:  # noqa: ANN401
        """Starts the timer."""
        self._timer = consumer.timer.call_repeatedly(self.period_s, self._round)

    def stop(self, consumer: Any) -> None:  # noqa: ANN401
        """Ends it."""
        if self._timer is not None:
            self._timer.cancel()

    def _round(self) -> None:
        result = "done"
        try:
            self.courier.round()
        except LoraJobsError as error:
            result = "skipped"
            log.warning("round skipped: %s", error.detail)
        except Exception:
            result = "failed"
            log.exception("round failed")
        self.courier.metrics.round(result)
