"""Webhooks to send: what a courier asks of the store, and what the API shows of them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from lorajobs.errors import LoraJobsError

#: Tries of one delivery that its log keeps.
LOGGED = 20
#: Milliseconds between two webhooks of a job's progress.
PROGRESS_MS = 500


class DeliveryNotFound(LoraJobsError):
    """The job has no webhook with this id."""

    code, title, status = "delivery_not_found", "No such delivery", 404


class DeliveryStatus(StrEnum):
    """Where a webhook stands; one that failed can be sent again by hand."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(NamedTuple):
    """One leased webhook; `tries` counts this one, since it was last sent by hand."""

    id: str
    job_id: str
    url: str
    event: str
    tries: int

    @property
    def host(self) -> str:
        """Host and port of the receiver, by which couriers divide their attention."""
        return urlsplit(self.url).netloc.lower()

    @property
    def is_best_effort(self) -> bool:
        """True if it is not worth a second try."""
        return self.event in ("job.started", "job.progress")


class Try(NamedTuple):
    """One try in a delivery's log; what came of it is the HTTP status or what went wrong."""

    at_ms: int
    result: str


class DeliveryRecord(NamedTuple):
    """A webhook as its log shows it."""

    delivery: Delivery
    status: DeliveryStatus
    #: None unless it is pending
    next_try_ms: int | None
    log: Sequence[Try]


class Verdict(NamedTuple):
    """What came of a try, and what is to be done: pending ones are tried again."""

    result: str
    status: DeliveryStatus
    retry_in_s: float = 0.0


class Outbox(Protocol):
    """The courier's side."""

    def due_deliveries(
        self, limit: int, hold_s: float, per_host: int | None = None
    ) -> Sequence[Delivery]:
        """Leases due webhooks for `hold_s` seconds, at most so many of a host at a time."""

    def hold(self, delivery: Delivery, seconds: float) -> bool:
        """Leases it anew from now; False if it was settled or given to another courier since."""

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Logs a try, and closes the delivery or plans its next try."""


class DeliveryLog(Protocol):
    """The API's side."""

    def deliveries(self, job_id: str) -> Sequence[DeliveryRecord]:
        """A job's webhooks, oldest first; those of its progress only while they are pending."""

    def redeliver(self, job_id: str, delivery_id: str) -> DeliveryRecord:
        """Sends one again at once, with the whole schedule of retries.

        Raises: DeliveryNotFound.
        """
