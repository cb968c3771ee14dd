"""Webhooks: signature, schedule, endings; a real HTTP receiver."""

import json
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from lorajobs.jobs import Job, JobStatus, Outcome
from lorajobs.jobs import Webhook as Hook
from lorajobs.settings import Settings
from lorajobs.testing import ManualClock, MemoryJobStore
from lorajobs.webhooks import WebhookSender, new_secret
from tests.jobs import a_job
from tests.services.receiver import Receiver, receiver

SECRET = new_secret()


@pytest.fixture
def hooked() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


class Desk:
    """A sender, its store, and one ended job with a webhook."""

    def __init__(self, url: str, **settings: object) -> None:
        self.clock = ManualClock()
        self.store = MemoryJobStore(clock_ms=self.clock)
        values = {"allow_private_urls": True, "webhook_retry_s": (5, 300), **settings}
        self.sender = WebhookSender(Settings(**values), SECRET, self.store, _document)  # type: ignore[arg-type]
        job = a_job(webhook=Hook(url=url))
        self.store.submit(job, None)
        lease = self.store.claim("demo", job.id, "w", "t")
        assert lease is not None
        self.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED))
        self.job = job

    def sweep(self) -> list[str]:
        """One round of the courier: sends what is due."""
        due = self.store.due_deliveries(10, self.sender.hold_s)
        return [self.sender.send(delivery) for delivery in due]


def _document(job: Job) -> dict[str, object]:
    return {"id": job.id, "status": job.status}


def test_the_end_is_sent_once_and_verifies(hooked: Receiver) -> None:
    desk = Desk(hooked.url + "/hook")
    assert desk.sweep() == ["204"]
    (got,) = hooked.wait(1)
    body = Webhook(SECRET).verify(got.body, dict(got.headers))
    assert body["type"] == "job.succeeded"
    assert body["data"] == {"id": desk.job.id, "status": "succeeded"}
    assert got.headers["webhook-id"] == f"{desk.job.id}.succeeded"
    assert got.headers["content-type"] == "application/json"
    assert desk.sweep() == []


def test_a_changed_body_does_not_verify(hooked: Receiver) -> None:
    Desk(hooked.url).sweep()
    (got,) = hooked.wait(1)
    forged = json.dumps({**json.loads(got.body), "type": "job.failed"})
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(forged, dict(got.headers))


def test_a_failing_receiver_is_tried_again_with_the_same_id_until_the_schedule_ends(
    hooked: Receiver,
) -> None:
    hooked.statuses = [500, 302, 404, 204]
    desk = Desk(hooked.url)
    first = desk.sweep()
    assert first[0].startswith("500; again in ")
    assert desk.sweep() == []
    desk.clock.advance(6.1)
    assert desk.sweep()[0].startswith("302; again in ")
    desk.clock.advance(361)
    assert desk.sweep() == ["404; given up"]
    desk.clock.advance(10**6)
    assert desk.sweep() == []
    assert len({got.headers["webhook-id"] for got in hooked.received}) == 1


def test_gone_ends_it(hooked: Receiver) -> None:
    hooked.statuses = [410]
    desk = Desk(hooked.url)
    assert desk.sweep() == ["410"]
    desk.clock.advance(10**6)
    assert desk.sweep() == []


def test_a_receiver_that_is_not_there(hooked: Receiver) -> None:
    desk = Desk("http://127.0.0.1:1/")
    assert desk.sweep()[0].startswith("ConnectError")


def test_a_try_that_is_never_settled_is_made_again(hooked: Receiver) -> None:
    desk = Desk(hooked.url)
    # A courier died with it in its hands.
    assert len(desk.store.due_deliveries(10, desk.sender.hold_s)) == 1
    assert desk.sweep() == []
    desk.clock.advance(desk.sender.hold_s + 1)
    assert desk.sweep() == ["204"]


def test_private_addresses_are_refused_unless_allowed(hooked: Receiver) -> None:
    desk = Desk(hooked.url, allow_private_urls=False)
    assert "https" in desk.sweep()[0]
    assert hooked.received == []


def test_a_deleted_job_s_webhook_is_dropped(hooked: Receiver) -> None:
    desk = Desk(hooked.url)
    (delivery,) = desk.store.due_deliveries(10, 1)
    desk.store.delete(desk.job.id)
    assert desk.sender.send(delivery) == "the job was deleted"
    assert hooked.received == []


def test_secrets_are_new_and_well_formed() -> None:
    assert new_secret() != new_secret()
    assert new_secret().startswith("whsec_")
    Webhook(new_secret())


def test_the_default_schedule() -> None:
    assert Settings().webhook_retry_s == (5, 300, 1800, 7200, 18000, 36000)
    assert Settings().webhook_timeout_s == 15
