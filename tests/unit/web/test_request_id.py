"""A request's id, from its header to its job, its log and its webhook."""

import logging

import pytest

from lorajobs.logs import REQUEST_ID, request_id
from tests.unit.web.api import REQUEST, Api


def test_every_answer_has_one_and_keeps_a_good_one(api: Api) -> None:
    assert (
        api.client.get("/healthz", headers={REQUEST_ID: "mine-1"}).headers[REQUEST_ID] == "mine-1"
    )
    first, second = (api.client.get("/v1/nowhere").headers[REQUEST_ID] for _ in range(2))
    assert first != second
    bad = api.client.get("/v1/jobs", headers={REQUEST_ID: "two words"})
    assert bad.headers[REQUEST_ID] != "two words"
    # What the thread does afterwards is of no request.
    assert request_id() == ""


def test_a_job_keeps_it_and_the_log_tells_it(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lorajobs.steps")
    answer = api.client.post("/v1/jobs", json=REQUEST, headers={REQUEST_ID: "mine-2"})
    job_id = answer.get_json()["id"]
    assert "request_id" not in answer.get_json()["input"]
    assert api.store.get(job_id).spec.request_id == "mine-2"
    api.client.post(f"/v1/jobs/{job_id}/cancel", headers={REQUEST_ID: "mine-3"})
    told = [record.__dict__["facts"] | {"event": record.getMessage()} for record in caplog.records]
    accepted, canceled = (facts for facts in told if facts["job"] == job_id)
    assert (accepted["event"], accepted["request_id"]) == ("accepted", "mine-2")
    assert accepted["position"] == 0
    assert (canceled["event"], canceled["request_id"]) == ("canceled", "mine-2")
    assert canceled["asked_by"] == "mine-3"
