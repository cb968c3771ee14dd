"""The task that sends one webhook."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from celery import Task, shared_task
from celery.worker.strategy import default as default_strategy

from lorajobs.errors import StoreUnavailable
from lorajobs.outbox import Delivery
from lorajobs.settlement import Settlement
from lorajobs.webhooks import WebhookSender


class DeliverTask(Task):
    """The task in the courier, with its sender."""

    abstract = True
    sender: ClassVar[WebhookSender]
    #: gives couriers so many of those that are due
    hand_out: ClassVar[Callable[[int], None]]

    def Strategy(self, task: Any, app: Any, consumer: Any) -> Callable[..., None]:  # noqa: ANN401
        """Builds the function that every message of this task goes through."""
        handle = default_strategy(task, app, consumer)

        def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:  # noqa: ANN401
            settle = Settlement(message, consumer)
            handle(message, body, settle.ack, settle.reject, callbacks)

        return on_message


@shared_task(bind=True, base=DeliverTask, name="lorajobs.deliver")
def deliver(self: DeliverTask, *delivery: str) -> str:
    """Makes one try; the outbox, not this message, is the truth."""
    identity, job_id, url, event, tries = delivery
    result = self.sender.send(Delivery(identity, job_id, url, event, int(tries)))
    # The receiver and this thread are free for the next one; the round would come much later.
    with suppress(StoreUnavailable):
        type(self).hand_out(1)
    return result
