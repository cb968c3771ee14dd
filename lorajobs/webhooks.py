"""A job's events are announced: signed as Standard Webhooks 1.0 asks, tried again by the outbox."""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from lorajobs import logs
from lorajobs.document import Document
from lorajobs.errors import JobNotFound, UrlNotAllowed
from lorajobs.guarded_http import Answer, GuardedHttp, Unreachable
from lorajobs.jobs import Job
from lorajobs.outbox import Delivery, DeliveryStatus, Verdict
from lorajobs.settings import Settings
from lorajobs.spec import WebhookShape
from lorajobs.store import Housekeeping
from lorajobs.webhook_secrets import WebhookSecrets

#: Longer than one try can take, so that two couriers never send the same try.
HOLD_MARGIN_S = 10.0
#: Receivers refuse large bodies.
MAX_BODY_BYTES = 20_000
#: What is left out of a job that is larger, the first first; its own URL has all of it.
_SPARED: Mapping[WebhookShape, Sequence[str]] = {
    "job": ("input", "warnings", "applied_loras", "outputs"),
    "prediction": ("input", "logs", "output"),
}


class WebhookSender:
    """Sends deliveries and plans their next try."""

    def __init__(
        self,
        settings: Settings,
        secrets: WebhookSecrets,
        housekeeping: Housekeeping,
        http: GuardedHttp,
        document: Callable[[Job], Document],
        observe: Callable[[str, float | None], None] = lambda result, seconds: None,
    ) -> None:
        """`observe` hears of each try: one of `metrics.DELIVERIES`, and how long it took."""
        self._settings = settings
        self._secrets = secrets
        self._housekeeping = housekeeping
        self._http = http
        self._document = document
        self._observe = observe

    @property
    def hold_s(self) -> float:
        """How long one try may keep a delivery."""
        return self._settings.webhook_timeout_s + HOLD_MARGIN_S

    def send(self, delivery: Delivery) -> str:
        """Makes one try and settles it; returns what happened, for the log and Flower."""
        # It may have waited longer for a free thread than it was held for.
        if not self._housekeeping.hold(delivery, self.hold_s):
            self._observe("outdated", None)
            return "settled, or in other hands"
        try:
            job = self._housekeeping.get(delivery.job_id)
        except JobNotFound:
            self._observe("erased", None)
            return "the job was deleted"
        if delivery.is_best_effort and job.status.is_terminal:
            verdict, label, seconds = _failed("the job had ended"), "outdated", None
        else:
            begun = time.monotonic()
            verdict, label = self._attempted(delivery, job)
            seconds = time.monotonic() - begun
        self._observe(label, seconds)
        self._housekeeping.settle(delivery, verdict)
        with logs.about_job(job):
            return _told(delivery, verdict, seconds)

    def _attempted(self, delivery: Delivery, job: Job) -> tuple[Verdict, str]:
        """What a try says of the delivery, and its name in the metrics."""
        wait_s = 0.0
        try:
            status, wait_s = self._post(delivery, job)
        except UrlNotAllowed as error:
            result = error.detail
        except Unreachable as error:
            result = str(error)
        else:
            result = str(status)
            if 200 <= status < 300:
                return Verdict(result, DeliveryStatus.DELIVERED), "delivered"
            if status == 410:
                return _failed(result), "gone"
        retry_in_s = self._next_delay(delivery)
        if retry_in_s is None:
            return _failed(result), "given_up"
        return Verdict(result, DeliveryStatus.PENDING, max(retry_in_s, wait_s)), "retried"

    def _post(self, delivery: Delivery, job: Job) -> tuple[int, float]:
        """The answer's status, and the seconds that the receiver asks us to wait."""
        now = datetime.now(UTC)
        body = webhook_body(delivery.event, now, self._document(job), shape_of(job))
        headers = {
            "content-type": "application/json",
            "user-agent": "lorajobs",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(delivery.id, now, body.decode())
                for secret in self._secrets.of(job.spec.owner).all
            ),
        }
        if job.spec.request_id:
            headers[logs.REQUEST_ID.lower()] = job.spec.request_id
        within_s = self._settings.webhook_timeout_s
        # Redirects are answers like any other: not 2xx.
        with self._http.ask("POST", delivery.url, headers, body, within_s=within_s) as answer:
            return answer.status, self._asked_wait_s(answer)

    def _asked_wait_s(self, answer: Answer) -> float:
        asked = answer.headers.get("retry-after", "")
        longest_s = max(self._settings.webhook_retry_s, default=0.0)
        return min(float(asked), longest_s) if asked.isascii() and asked.isdecimal() else 0.0

    def _next_delay(self, delivery: Delivery) -> float | None:
        delays = self._settings.webhook_retry_s
        if delivery.is_best_effort or delivery.tries > len(delays):
            return None
        # Up to a fifth later, so that a receiver that comes back is not hit by all at once.
        return delays[delivery.tries - 1] * random.uniform(1.0, 1.2)


def shape_of(job: Job) -> WebhookShape:
    """What the job's receiver reads."""
    return job.spec.webhook.shape if job.spec.webhook else "job"


def webhook_body(event: str, now: datetime, job: Document, shape: WebhookShape = "job") -> bytes:
    """The JSON of an event, at most `MAX_BODY_BYTES`; `truncated` names what was left out.

    `job` is what this shape tells of it.
    """
    truncated: list[str] = []
    spared = _SPARED[shape]
    while True:
        told = job | dict.fromkeys(truncated) | ({"truncated": truncated} if truncated else {})
        if shape == "job":
            told = {
                "type": event,
                "timestamp": now.isoformat().replace("+00:00", "Z"),
                "data": told,
            }
        body = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
        if len(body) <= MAX_BODY_BYTES or len(truncated) == len(spared):
            return body
        truncated = [*spared[: len(truncated) + 1]]


def _failed(result: str) -> Verdict:
    return Verdict(result, DeliveryStatus.FAILED)


def _told(delivery: Delivery, verdict: Verdict, seconds: float | None) -> str:
    facts = {"webhook": delivery.id, "type": delivery.event, "try": delivery.tries}
    with logs.about(**facts, result=verdict.result):
        if verdict.status is DeliveryStatus.DELIVERED:
            logs.step("webhook delivered", answer_ms=logs.ms(seconds))
            return verdict.result
        pending = verdict.status is DeliveryStatus.PENDING
        again_ms = logs.ms(verdict.retry_in_s) if pending else None
        level = logging.WARNING
        logs.step("webhook failed", level, answer_ms=logs.ms(seconds), again_ms=again_ms)
    return verdict.result + (f"; again in {verdict.retry_in_s:.0f} s" if pending else "; given up")
