"""The webhook of an API key, and the secret that signs it."""

import pytest

from lorajobs.api_keys import Scope, change, rotated
from lorajobs.spec import ENDS, Webhook
from tests.shelf import Shelf
from tests.unit.web.api import KEYLESS_SECRET, REQUEST, Api, problem_of
from tests.unit.web.keyed import Keyed, Shared

HOOK = Webhook(url="https://anna.example/hook", events=("failed", "canceled"))
OWN = {"url": "https://own.example/"}


@pytest.fixture
def shared(shelf: Shelf) -> Shared:
    shared = Shared(shelf)
    hook(shared.anna, HOOK)
    return shared


def hook(who: Keyed, webhook: Webhook | None) -> None:
    change(who.api.keys, who.key.id, lambda key: key.model_copy(update={"webhook": webhook}))


def announced(who: Keyed, **fields: object) -> list[tuple[str, str]]:
    """Where the end of a job that is canceled is told, and by which event."""
    job_id = who.submit(**fields)
    assert who.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    told = who.get(f"/v1/jobs/{job_id}/deliveries").get_json()["deliveries"]
    return [(delivery["url"], delivery["event"]) for delivery in told]


def test_a_job_without_a_webhook_is_announced_to_its_keys(shared: Shared) -> None:
    assert announced(shared.anna) == [(HOOK.url, "job.canceled")]
    assert announced(shared.ben) == announced(shared.root) == []


def test_a_jobs_own_webhook_is_the_only_one(shared: Shared) -> None:
    assert announced(shared.anna, webhook=OWN) == [(OWN["url"], "job.canceled")]
    assert announced(shared.anna, webhook=OWN | {"events": ["failed"]}) == []


def test_only_the_events_that_the_key_asks_for_are_told(shared: Shared) -> None:
    hook(shared.anna, HOOK.model_copy(update={"events": ("failed",)}))
    assert announced(shared.anna) == []


def test_a_job_keeps_the_webhook_of_its_submit(shared: Shared) -> None:
    job_id = shared.anna.submit()
    hook(shared.anna, None)
    assert announced(shared.anna) == []
    shown = shared.anna.get(f"/v1/jobs/{job_id}").get_json()["input"]["webhook"]
    assert (shown["url"], shown["events"]) == (HOOK.url, list(HOOK.events))
    shared.anna.post(f"/v1/jobs/{job_id}/cancel")
    assert len(shared.api.store.deliveries(job_id)) == 1


def test_a_keys_webhook_is_checked_when_it_is_set_and_used_not_at_each_submit(
    shared: Shared,
) -> None:
    # A name server that hangs must not refuse a job that says nothing of webhooks.
    hook(shared.anna, Webhook(url="https://private.example/", events=ENDS))
    assert announced(shared.anna) == [("https://private.example/", "job.canceled")]
    named = shared.anna.post("/v1/jobs", json=REQUEST | {"webhook": {"url": "https://private/"}})
    problem_of(named, 422, "url_not_allowed")


def test_each_key_reads_its_own_secret(shared: Shared) -> None:
    secrets = {}
    for who in (shared.anna, shared.ben, shared.root):
        answer = who.get("/v1/webhooks/secret")
        assert answer.headers["Cache-Control"] == "no-store"
        told = answer.get_json()
        assert (told["former"], told["former_until"]) == (None, None)
        secrets[who.key.name] = told["secret"]
    assert len({*secrets.values(), KEYLESS_SECRET}) == 4
    change(shared.api.keys, "anna", rotated)
    told = shared.anna.get("/v1/webhooks/secret").get_json()
    assert told["former"] == secrets["anna"]
    assert told["former_until"].endswith("Z")
    assert shared.ben.get("/v1/webhooks/secret").get_json()["secret"] == secrets["ben"]


def test_a_key_changes_its_own_secret(shared: Shared, api: Api) -> None:
    before = shared.anna.get("/v1/webhooks/secret").get_json()["secret"]
    told = shared.anna.post("/v1/webhooks/secret/rotate").get_json()
    assert told["former"] == before != told["secret"]
    # A repetition, as after a lost answer, leaves the receiver the one that it knows.
    assert shared.anna.post("/v1/webhooks/secret/rotate").get_json() == told
    assert shared.anna.get("/v1/webhooks/secret").get_json() == told
    looks = Keyed(shared.api, "looks", [Scope.READ])
    problem_of(looks.post("/v1/webhooks/secret/rotate"), 403, "scope_missing")
    problem_of(api.client.post("/v1/webhooks/secret/rotate"), 422, "validation")


def test_without_keys_the_secret_is_the_services(api: Api, shared: Shared) -> None:
    path = "/v1/webhooks/secret"
    assert api.client.get(path).get_json()["secret"] == KEYLESS_SECRET
    problem_of(shared.api.client.get(path), 401, "key_required")
    submits = Keyed(shared.api, "submits", [Scope.SUBMIT])
    problem_of(submits.get(path), 403, "scope_missing")
