"""The task that sends one webhook."""

from typing import ClassVar

from celery import Task, shared_task

from lorajobs.store import Delivery
from lorajobs.webhooks import WebhookSender


class DeliverTask(Task):
    """The task in the courier, with its sender."""

    abstract = True
    sender: ClassVar[WebhookSender]


@shared_task(bind=True, base=DeliverTask, name="lorajobs.deliver")
def deliver(self: DeliverTask, *delivery: str) -> str:
    """Makes one try; the outbox, not this message, is the truth."""
    identity, job_id, url, event, tries = delivery
    return self.sender.send(Delivery(identity, job_id, url, event, int(tries)))
