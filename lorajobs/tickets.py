"""Tickets: interchangeable Celery messages that say "one job waits for this base model".

A ticket carries no job. Whoever receives it claims the best waiting job (claim.py), so a lost
ticket is replaced by the courier and a surplus one is simply acknowledged.
"""

import base64
import json
import uuid
from collections.abc import Mapping

from celery import Celery
from kombu.exceptions import OperationalError

from lorajobs.errors import StoreUnavailable
from lorajobs.settings import Settings

TASK = "lorajobs.generate"
_NO_ARGUMENTS = [[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
_BODY = base64.b64encode(json.dumps(_NO_ARGUMENTS).encode()).decode()
#: Seconds for a broker to say that it has a ticket; a queue without a leader says nothing.
CONFIRM_S = 5.0
#: At once, over a new connection: the one in hand may be older than the broker's last start.
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


class TicketQueue:
    """Makes, sends and counts tickets on the broker."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._same_redis = settings.broker_url in (None, settings.redis_url)

    def envelope(self, queue: str) -> Mapping[str, str] | None:
        """The broker's list and a message for it, so that one script writes both job and ticket.

        None if the broker is not the store's own Redis; then `publish` must follow.
        Source: the message layout of kombu.transport.virtual and Celery's protocol 2, pinned by
        tests/contract/test_celery_internals.py.
        """
        if not self._same_redis:
            return None
        ticket = str(uuid.uuid4())
        message = {
            "body": _BODY,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": TASK, "id": ticket, "root_id": ticket, "retries": 0},
            "properties": {
                "correlation_id": ticket,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
        return {"queue": queue, "message": json.dumps(message)}

    def publish(self, queue: str, count: int = 1) -> None:
        """Sends tickets over the broker's own protocol.

        Raises: StoreUnavailable.
        """
        try:
            for _ in range(count):
                self._app.send_task(
                    TASK,
                    queue=queue,
                    confirm_timeout=CONFIRM_S,
                    retry=True,
                    retry_policy=_ONCE_MORE,
                )
        except (OperationalError, *self._app.connection_for_write().connection_errors) as error:
            raise StoreUnavailable(f"the broker does not answer: {error}") from error

    def depth(self, queue: str) -> int:
        """How many tickets wait on the broker.

        Raises: StoreUnavailable.
        """
        connection = self._app.connection_for_read()
        try:
            with connection, connection.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
        except (OperationalError, *connection.connection_errors) as error:
            raise StoreUnavailable(f"the broker does not answer: {error}") from error
