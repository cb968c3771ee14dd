"""The Celery app, found by `celery -A lorajobs`: queues, reliability settings, tasks."""

import warnings
from contextlib import suppress
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from celery.exceptions import CPendingDeprecationWarning
from kombu import Connection, Queue

from lorajobs import logs
from lorajobs.catalog import Catalog
from lorajobs.settings import Settings

COURIER_QUEUE = "courier"
#: Seconds between the end that a step enforces and the kill.
KILL_GRACE_S = 30.0
#: Seconds between two tries to reach a broker that is away.
RECONNECT_S = 1.0


class _Connection(Connection):
    """A connection that outlives its broker's death better than kombu's own."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401
        """Waits for the broker at a steady pace; kombu's pauses grow to 30 seconds."""
        pace = {"interval_start": RECONNECT_S, "interval_step": 0, "interval_max": RECONNECT_S}
        return super().ensure_connection(*args, **{**pace, **kwargs})

    def maybe_close_channel(self, channel: Any) -> None:  # noqa: ANN401
        """Closes a channel, whatever state it is in."""
        # Celery closes twice. If a message was unsettled while the channel polled a broker that
        # is gone, the second time finds no transport, and that ended the whole process.
        with suppress(AttributeError):
            super().maybe_close_channel(channel)


class _Amqp(AMQP):
    """Connects by it."""

    Connection = _Connection


def make_app(settings: Settings) -> Celery:
    """Builds the app; opens no connection."""
    app = Celery("lorajobs", broker=settings.broker_url or settings.redis_url, amqp=_Amqp)
    catalog = Catalog.load(settings.config)
    quorum = {"x-queue-type": "quorum"} if _is_amqp(app) else None
    queues = [e.queue for e in catalog.models.values()]
    app.conf.update(
        task_queues=[Queue(q, durable=True, queue_arguments=quorum) for q in queues]
        + [Queue(COURIER_QUEUE, durable=True)],
        task_routes={"lorajobs.deliver": {"queue": COURIER_QUEUE}},
        # The job record is the truth.
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        task_track_started=True,
        task_time_limit=settings.max_runtime_s + KILL_GRACE_S,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        # The child loads its base when it starts; Celery's 4 s would kill it for ever.
        worker_proc_alive_timeout=600,
        worker_send_task_events=True,
        # True would kill running jobs on Redis and strand them until the visibility timeout.
        # Celery warns of False at each lost connection: see _quiet.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(app),
        event_queue_prefix="lorajobs.events",
    )
    return app


def take_over_log(settings: Settings, process: str) -> None:
    """Sets the log of a worker or courier up, which Celery then leaves as it is."""
    logs.set_up(settings, process)
    signals.setup_logging.connect(_leave, weak=False)


def _leave(**_: object) -> None:
    """That somebody hears the signal is what keeps Celery from a log of its own."""


def _quiet(**_: object) -> None:
    """Silences the advice to set what `make_app` has set on purpose.

    Celery offers no setting for it, and asks for all such warnings when it sets up its log.
    """
    advice = r"\s*In Celery 5\.1 we introduced an optional breaking change"
    warnings.filterwarnings("ignore", advice, CPendingDeprecationWarning)


def _is_amqp(app: Celery) -> bool:
    return str(app.conf.broker_url).startswith("amqp")


def _transport_options(app: Celery) -> dict[str, object]:
    if _is_amqp(app):
        return {"confirm_publish": True}
    return {
        # Leases, not redelivery, bring jobs back; a small value would only make surplus tickets.
        "visibility_timeout": 3600,
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "socket_timeout": 30,
    }


signals.celeryd_after_setup.connect(_quiet)
app = make_app(Settings.from_env())
