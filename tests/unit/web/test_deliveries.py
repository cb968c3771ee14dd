"""`/v1/jobs/{id}/deliveries` over HTTP."""

import pytest

from lorajobs.jobs import JobStatus, Outcome
from lorajobs.outbox import DeliveryStatus, Verdict
from tests.jobs import lease_of
from tests.unit.web.api import Api, problem_of

URL = "https://receiver.example/hook?token=hidden"


@pytest.fixture
def failed(api: Api) -> str:
    """A job whose webhook was tried twice and failed."""
    job_id = api.submit(webhook={"url": URL})
    api.client.post(f"/v1/jobs/{job_id}/cancel")
    for verdict in (
        Verdict("500", DeliveryStatus.PENDING),
        Verdict("404", DeliveryStatus.FAILED),
    ):
        (delivery,) = api.store.due_deliveries(10, 30)
        api.store.settle(delivery, verdict)
    return job_id


def test_every_try_is_listed(api: Api, failed: str) -> None:
    answer = api.client.get(f"/v1/jobs/{failed}/deliveries")
    assert answer.status_code == 200
    (delivery,) = answer.get_json()["deliveries"]
    log = delivery.pop("log")
    assert delivery == {
        "id": f"{failed}.canceled",
        "event": "job.canceled",
        "url": "https://receiver.example/hook?…",
        "status": "failed",
        "tries": 2,
        "next_try_at": None,
    }
    assert [row["result"] for row in log] == ["500", "404"]
    assert all(row["at"].endswith("Z") for row in log)


def test_a_pending_one_says_when_it_is_tried_next(api: Api) -> None:
    job_id = api.submit(webhook={"url": URL})
    api.client.post(f"/v1/jobs/{job_id}/cancel")
    (delivery,) = api.client.get(f"/v1/jobs/{job_id}/deliveries").get_json()["deliveries"]
    assert (delivery["status"], delivery["tries"], delivery["log"]) == ("pending", 0, [])
    assert delivery["next_try_at"].endswith("Z")


def test_it_is_sent_again_when_asked(api: Api, failed: str) -> None:
    answer = api.client.post(f"/v1/jobs/{failed}/deliveries/{failed}.canceled/redeliver")
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "pending"
    (again,) = api.store.due_deliveries(10, 30)
    assert again.id == f"{failed}.canceled"


def test_a_job_without_webhook_has_none(api: Api) -> None:
    job_id = api.submit()
    assert api.client.get(f"/v1/jobs/{job_id}/deliveries").get_json() == {"deliveries": []}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/jobs/nix/deliveries", "job_not_found"),
        ("POST", "/v1/jobs/nix/deliveries/{job}.canceled/redeliver", "job_not_found"),
        ("POST", "/v1/jobs/{job}/deliveries/nix/redeliver", "delivery_not_found"),
    ],
)
def test_what_is_not_there(api: Api, failed: str, method: str, path: str, code: str) -> None:
    problem_of(api.client.open(path.format(job=failed), method=method), 404, code)


def test_a_query_is_refused(api: Api, failed: str) -> None:
    problem_of(api.client.get(f"/v1/jobs/{failed}/deliveries?x=1"), 422, "validation")


def test_events_are_chosen_by_name(api: Api) -> None:
    job_id = api.submit(webhook={"url": URL, "events": ["started", "succeeded"]})
    shown = api.client.get(f"/v1/jobs/{job_id}").get_json()["input"]["webhook"]
    assert shown == {
        "url": "https://receiver.example/hook?…",
        "events": ["started", "succeeded"],
        "shape": "job",
    }
    lease = lease_of(api.store.claim("demo", job_id, "w", "t"))
    assert lease is not None
    api.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED))
    listed = api.client.get(f"/v1/jobs/{job_id}/deliveries").get_json()["deliveries"]
    assert [delivery["event"] for delivery in listed] == ["job.started", "job.succeeded"]


@pytest.mark.parametrize(
    ("events", "pointer"),
    [([], "/webhook/events"), (["done"], "/webhook/events/0"), ("failed", "/webhook/events")],
)
def test_other_events_are_refused(api: Api, events: object, pointer: str) -> None:
    body = {"model": "demo", "prompt": "p", "webhook": {"url": URL, "events": events}}
    document = problem_of(api.client.post("/v1/jobs", json=body), 422, "validation")
    assert document["errors"][0]["pointer"] == pointer
