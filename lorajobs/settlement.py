"""A message is acknowledged or returned, or the consumer connects anew.

Celery only logs a failure of either. But the channel then counts the message as unsettled for ever,
and with a prefetch of one it never takes another: the process would live and do nothing.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.bootsteps import RUN

log = logging.getLogger(__name__)


class Settlement:
    """Settles one message; its methods take what Celery passes to those that it replaces."""

    def __init__(self, message: Any, consumer: Any) -> None:  # noqa: ANN401
        self._message = message
        self._consumer = consumer
        self._connection = consumer.connection

    def ack(self, logger: object = None, errors: object = None) -> None:
        """Acknowledges it: its work is done."""
        self._soon(self._message.ack)

    def reject(self, logger: object = None, errors: object = None, requeue: bool = False) -> None:
        """Drops it, or returns it to its queue."""
        self._soon(lambda: self._message.reject(requeue=requeue))

    def _soon(self, write: Callable[[], None]) -> None:
        def settle() -> None:
            try:
                write()
            except Exception as error:
                consumer = self._consumer
                if consumer.blueprint.state == RUN and consumer.connection is self._connection:
                    # Out of the event loop: it ends this connection, and its channel with it.
                    raise
                log.warning("a message of a lost connection is not settled: %r", error)

        self._consumer.call_soon(settle)
