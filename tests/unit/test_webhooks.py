"""Webhooks: signature, schedule, endings; a real HTTP receiver."""

import json
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from lorajobs.api_keys import ApiKey, rotated
from lorajobs.guarded_http import GuardedHttp
from lorajobs.jobs import Job, JobStatus, Outcome, Stage
from lorajobs.reach import Reach
from lorajobs.settings import Settings
from lorajobs.spec import ENDS, WebhookEvent
from lorajobs.spec import Webhook as Hook
from lorajobs.store import Progress
from lorajobs.testing import ManualClock, MemoryApiKeys, MemoryJobStore
from lorajobs.webhook_secrets import WebhookSecrets, new_secret
from lorajobs.webhooks import WebhookSender
from tests.jobs import a_job, lease_of
from tests.services.receiver import Receiver, receiver

SECRET = new_secret()


@pytest.fixture
def hooked() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


class Desk:
    """A sender, its store, and a job with a webhook, ended unless told otherwise."""

    def __init__(
        self,
        url: str,
        *,
        events: tuple[WebhookEvent, ...] = ENDS,
        ends: bool = True,
        owner: str = "",
        **settings: object,
    ) -> None:
        self.clock = ManualClock()
        self.store = MemoryJobStore(clock_ms=self.clock)
        self.keys = MemoryApiKeys(self.clock)
        self.secrets = WebhookSecrets(lambda: SECRET, self.keys, 60, self.clock)
        given = {"webhook_private": ("127.0.0.0/8",), "webhook_retry_s": (5, 300), **settings}
        values = Settings(**given)  # type: ignore[arg-type]
        http = GuardedHttp(Reach.of_webhooks(values))
        self.heard: list[tuple[str, bool]] = []
        self.sender = WebhookSender(
            values,
            self.secrets,
            self.store,
            http,
            _document,
            lambda result, seconds: self.heard.append((result, seconds is not None)),
        )
        self.job = a_job(webhook=Hook(url=url, events=events), owner=owner)
        self.store.submit(self.job, None)
        lease = lease_of(self.store.claim("demo", self.job.id, "w", "t"))
        assert lease is not None
        self.lease = lease
        if ends:
            self.end()

    def end(self) -> None:
        """Lets the job end."""
        self.store.finish(self.lease, Outcome(status=JobStatus.SUCCEEDED))

    def sweep(self) -> list[str]:
        """One round of the courier: sends what is due."""
        due = self.store.due_deliveries(10, self.sender.hold_s)
        return [self.sender.send(delivery) for delivery in due]


def _document(job: Job) -> dict[str, object]:
    return {"id": job.id, "status": job.status, "step": job.step}


def test_the_end_is_sent_once_and_verifies(hooked: Receiver) -> None:
    desk = Desk(hooked.url + "/hook")
    assert desk.sweep() == ["204"]
    (got,) = hooked.wait(1)
    body = Webhook(SECRET).verify(got.body, dict(got.headers))
    assert body["type"] == "job.succeeded"
    assert body["data"] == {"id": desk.job.id, "status": "succeeded", "step": 4}
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
    assert desk.sweep() == ["410; given up"]
    assert desk.heard == [("gone", True)]
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
    desk = Desk(hooked.url, webhook_private=())
    assert "LORAJOBS_WEBHOOK_PRIVATE" in desk.sweep()[0]
    assert hooked.received == []


def test_a_deleted_job_s_webhook_is_dropped(hooked: Receiver) -> None:
    desk = Desk(hooked.url)
    (delivery,) = desk.store.due_deliveries(10, 1)
    desk.store.delete(desk.job.id)
    assert desk.sender.send(delivery) == "settled, or in other hands"
    assert hooked.received == []


def test_a_keys_job_is_signed_by_its_secret_and_after_a_change_by_both(hooked: Receiver) -> None:
    desk = Desk(hooked.url, owner="anna")
    key = ApiKey(id="anna", name="anna", scopes=(), digest="", created_ms=0)
    desk.keys.add(key)
    (first,) = desk.secrets.of("anna").all
    desk.keys.update("anna", rotated)
    assert desk.sweep() == ["204"]
    (got,) = hooked.received
    for secret in (first, desk.secrets.of("anna").current):
        assert Webhook(secret).verify(got.body, dict(got.headers))["type"] == "job.succeeded"
    for secret in (SECRET, desk.secrets.of("").current, new_secret()):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(got.body, dict(got.headers))


def test_the_default_schedule(hooked: Receiver) -> None:
    """At once, then 5 s, 5 min, 30 min, 2 h, 5 h and 10 h after the last try, then never."""
    settings = Settings()
    assert settings.webhook_timeout_s == 15
    hooked.statuses = [500] * 8
    desk = Desk(hooked.url, webhook_retry_s=settings.webhook_retry_s)
    waits = [5, 300, 1800, 7200, 18_000, 36_000]
    for wait_s in waits:
        (said,) = desk.sweep()
        retry_in_s = int(said.removeprefix("500; again in ").removesuffix(" s"))
        assert wait_s <= retry_in_s <= 1.2 * wait_s
        desk.clock.advance(0.99 * wait_s)
        assert desk.sweep() == []
        desk.clock.advance(0.22 * wait_s)
    assert desk.sweep() == ["500; given up"]
    desk.clock.advance(10**7)
    assert desk.sweep() == []
    assert len(hooked.received) == 7


def test_retries_are_jittered(hooked: Receiver) -> None:
    hooked.statuses = [500] * 20
    waits = set()
    for _ in range(20):
        desk = Desk(hooked.url, webhook_retry_s=(1000,))
        desk.sweep()
        (record,) = desk.store.deliveries(desk.job.id)
        assert record.next_try_ms is not None
        waits.add(record.next_try_ms - desk.clock())
    assert len(waits) > 10
    assert min(waits) >= 1_000_000
    assert max(waits) <= 1_200_000


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"),
    [("60", 60, 60), ("9999999", 300, 300), ("soon", 5, 6), ("-1", 5, 6), ("0", 5, 6)],
)
def test_a_receiver_may_ask_for_more_time(
    hooked: Receiver, asked: str, least_s: float, most_s: float
) -> None:
    hooked.statuses = [503]
    hooked.headers = {"retry-after": asked}
    desk = Desk(hooked.url)
    desk.sweep()
    (record,) = desk.store.deliveries(desk.job.id)
    assert record.next_try_ms is not None
    assert least_s <= (record.next_try_ms - desk.clock()) / 1000 <= most_s


def test_a_receiver_that_hangs_is_left(hooked: Receiver) -> None:
    hooked.hold()
    desk = Desk(hooked.url, webhook_timeout_s=0.1)
    assert desk.sweep()[0].startswith("does not answer in time; again in ")
    hooked.let_go()
    assert desk.heard == [("retried", True)]


def test_the_start_is_tried_once(hooked: Receiver) -> None:
    hooked.statuses = [500]
    desk = Desk(hooked.url, events=("started",), ends=False)
    assert desk.sweep() == ["500; given up"]
    desk.clock.advance(10**6)
    assert desk.sweep() == []


def test_the_start_and_the_progress_are_told_to_who_asks(hooked: Receiver) -> None:
    desk = Desk(hooked.url, events=("started", "progress", "succeeded"), ends=False)
    assert desk.sweep() == ["204"]
    for step in (1, 2):
        desk.store.renew(desk.lease, Progress(Stage.DENOISING, step, 4))
        assert desk.sweep() == ["204"]
        desk.clock.advance(1)
    desk.end()
    assert desk.sweep() == ["204"]
    bodies = [Webhook(SECRET).verify(got.body, dict(got.headers)) for got in hooked.received]
    assert [(body["type"], body["data"]["step"]) for body in bodies] == [
        ("job.started", 0),
        ("job.progress", 1),
        ("job.progress", 2),
        ("job.succeeded", 4),
    ]
    assert len({got.headers["webhook-id"] for got in hooked.received}) == 4


def test_progress_is_not_told_after_the_end(hooked: Receiver) -> None:
    desk = Desk(hooked.url, events=("started", "progress", "succeeded"), ends=False)
    desk.store.renew(desk.lease, Progress(Stage.DENOISING, 1, 4))
    desk.end()
    assert sorted(desk.sweep()) == [
        "204",
        "the job had ended; given up",
        "the job had ended; given up",
    ]
    (got,) = hooked.received
    assert json.loads(got.body)["type"] == "job.succeeded"
    assert sorted(desk.heard) == [("delivered", True), ("outdated", False), ("outdated", False)]
