"""A job's end is announced: signed as Standard Webhooks 1.0 asks, tried again by the outbox."""

import base64
import json
import logging
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

from lorajobs.addresses import require_allowed
from lorajobs.errors import JobNotFound, UrlNotAllowed
from lorajobs.jobs import Job
from lorajobs.settings import Settings
from lorajobs.store import Delivery, Housekeeping

log = logging.getLogger(__name__)

#: Longer than one try can take, so that two couriers never send the same try.
HOLD_MARGIN_S = 5.0


def new_secret() -> str:
    """A fresh `whsec_` secret of 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class WebhookSender:
    """Sends deliveries and plans their next try."""

    def __init__(
        self,
        settings: Settings,
        secret: str,
        housekeeping: Housekeeping,
        document: Callable[[Job], dict[str, object]],
        observe: Callable[[str, float | None], None] = lambda result, seconds: None,
    ) -> None:
        """`observe` hears of each try: one of `metrics.DELIVERIES`, and how long it took."""
        self._settings = settings
        self._signer = Webhook(secret)
        self._housekeeping = housekeeping
        self._document = document
        self._observe = observe
        # Redirects are answers like any other: not 2xx.
        self._http = httpx.Client(
            timeout=settings.webhook_timeout_s, follow_redirects=False, trust_env=False
        )

    @property
    def hold_s(self) -> float:
        """How long one try may keep a delivery."""
        return self._settings.webhook_timeout_s + HOLD_MARGIN_S

    def send(self, delivery: Delivery) -> str:
        """Makes one try and settles it; returns what happened, for the log and Flower."""
        try:
            job = self._housekeeping.get(delivery.job_id)
        except JobNotFound:
            self._observe("erased", None)
            self._housekeeping.settle(delivery, None)
            return "the job was deleted"
        begun = time.monotonic()
        result = self._post(delivery, job)
        seconds = time.monotonic() - begun
        if result.isdecimal() and (200 <= int(result) < 300 or result == "410"):
            self._observe("gone" if result == "410" else "delivered", seconds)
            self._housekeeping.settle(delivery, None)
            return result
        retry_in = self._next_delay(delivery.tries)
        self._observe("given_up" if retry_in is None else "retried", seconds)
        self._housekeeping.settle(delivery, retry_in)
        last = "; given up" if retry_in is None else f"; again in {retry_in:.0f} s"
        log.warning("webhook %s try %d: %s%s", delivery.id, delivery.tries, result, last)
        return result + last

    def _post(self, delivery: Delivery, job: Job) -> str:
        now = datetime.now(UTC)
        data = {
            "type": delivery.event,
            "timestamp": now.isoformat().replace("+00:00", "Z"),
            "data": self._document(job),
        }
        body = json.dumps(data, separators=(",", ":"))
        headers = {
            "content-type": "application/json",
            "user-agent": "lorajobs",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(delivery.id, now, body),
        }
        try:
            require_allowed(delivery.url, self._settings.allow_private_urls)
            return str(self._http.post(delivery.url, content=body, headers=headers).status_code)
        except UrlNotAllowed as error:
            return error.detail
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{type(error).__name__}: {error}"

    def _next_delay(self, tries: int) -> float | None:
        delays = self._settings.webhook_retry_s
        if tries > len(delays):
            return None
        # Up to a fifth later, so that a receiver that comes back is not hit by all at once.
        return delays[tries - 1] * random.uniform(1.0, 1.2)
