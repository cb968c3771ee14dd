"""`/v1/admin`: who may see it, what it shows, what it does."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lorajobs.drain import DRAIN, RESUME
from lorajobs.errors import OutOfMemory
from lorajobs.jobs import JobStatus, Outcome, Stage
from lorajobs.lookout import SHOWN
from lorajobs.outbox import DeliveryStatus, Verdict
from lorajobs.store import Progress, WorkerState
from tests.jobs import lease_of
from tests.shelf import Shelf
from tests.unit.web.api import Api, problem_of
from tests.unit.web.keyed import Shared

HOSTILE = "<img src=x onerror=alert(1)>"
ROUTES = (
    ("GET", "/v1/admin/overview"),
    ("POST", "/v1/admin/workers/w1/drain"),
    ("POST", "/v1/admin/workers/w1/resume"),
    ("POST", "/v1/admin/queues/demo/purge"),
    ("POST", "/v1/admin/jobs/nobody/requeue"),
)


def seen(api: Api) -> dict[str, Any]:
    """The overview, which is as it is described."""
    answer = api.client.get("/v1/admin/overview")
    assert answer.status_code == 200, answer.text
    described = api.client.get("/openapi.json").get_json()
    schema = {"$ref": "#/components/schemas/Overview", "components": described["components"]}
    Draft202012Validator(schema).validate(answer.get_json())
    return dict(answer.get_json())


def demo(api: Api) -> dict[str, Any]:
    """Its base `demo`."""
    return next(queue for queue in seen(api)["queues"] if queue["model"] == "demo")


def live(api: Api, name: str = "w1@host", state: str = "warm", job_id: str | None = None) -> None:
    api.store.put_worker(WorkerState(name, "demo", state, (), job_id, placement="gpu"), 60)


def failed(api: Api, detail: str = "full", **fields: Any) -> str:
    """A job that failed on a worker."""
    job_id = api.submit(**fields)
    lease = lease_of(api.store.claim("demo", job_id, "w1@host", job_id))
    assert lease
    error = OutOfMemory(detail).as_job_error()
    assert api.store.finish(lease, Outcome(status=JobStatus.FAILED, error=error))
    return job_id


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_an_admin_may(shelf: Shelf, method: str, path: str) -> None:
    shared = Shared(shelf)
    refused = shared.api.client.open(path, method=method)
    problem_of(refused, 401, "key_required")
    for keyed in (shared.anna, shared.ben):
        problem_of(keyed.ask(method, path), 403, "scope_missing")
    assert shared.root.ask(method, path).status_code in (200, 404)


def test_where_no_key_was_ever_made_everybody_is_the_operator(api: Api) -> None:
    assert api.client.get("/v1/admin/overview").status_code == 200
    problem_of(api.client.get("/v1/admin/overview?x=1"), 422, "validation")


def test_where_keys_are_not_needed_but_were_made_who_has_none_is_no_operator(shelf: Shelf) -> None:
    shared = Shared(shelf)
    settings = shelf.settings.model_copy(update={"require_keys": "never"})
    open_to_all = Api(shelf, settings=settings, ring=shared.api.app.extensions["lorajobs"].ring)
    problem_of(open_to_all.client.get("/v1/admin/overview"), 403, "scope_missing")


def test_an_idle_base_and_what_its_worker_did(api: Api) -> None:
    live(api)
    job_id = api.submit(loras=[{"id": "pixel", "scale": 0.5}])
    lease = lease_of(api.store.claim("demo", job_id, "w1@host", "t"))
    assert lease
    live(api, job_id=job_id)
    api.clock.advance(1)
    api.store.renew(lease, Progress(Stage.DENOISING, 1, 4))
    api.clock.advance(1)
    (timeline,) = seen(api)["timelines"]
    assert (timeline["worker"], timeline["alive"]) == ("w1@host", True)
    assert [state["state"] for state in timeline["states"]] == ["warm"]
    (run,) = timeline["runs"]
    assert (run["job_id"], run["ended"]) == (job_id, None)
    assert [part["kind"] for part in run["parts"]] == ["adapters", "generate"]
    assert run["loras"] == [{"id": "pixel", "scale": 0.5}]
    (worker,) = demo(api)["workers"]
    assert (worker["job_id"], worker["placement"], worker["base"]) == (job_id, "gpu", "demo")


def test_a_worker_that_died_is_shown_until_its_strip_is_over(api: Api) -> None:
    live(api)
    api.run(api.submit())
    live(api, "w2@host")
    api.clock.advance(100)
    live(api, "w2@host")
    shown = {view["worker"]: view["alive"] for view in seen(api)["timelines"]}
    assert shown == {"worker@host": False, "w1@host": False, "w2@host": True}
    assert seen(api)["timelines"][0]["worker"] == "w2@host"
    api.clock.advance(250)
    live(api, "w2@host")
    assert [view["worker"] for view in seen(api)["timelines"]] == ["w2@host"]


def test_why_jobs_wait_and_where_their_adapters_are(api: Api) -> None:
    job_id = api.submit(loras=[{"id": "pixel"}])
    (job,) = demo(api)["jobs"]
    assert (job["id"], job["why"], job["eta_s"]) == (job_id, "no_worker", None)
    assert job["loras"] == [{"id": "pixel", "scale": 0.8, "tier": None}]
    live(api, state="draining")
    assert demo(api)["jobs"][0]["why"] == "draining"
    live(api, job_id="another")
    (job,) = demo(api)["jobs"]
    assert (job["why"], job["loras"][0]["tier"]) == ("fetching", "remote")


def test_long_lists_are_cut_and_their_number_is_told(api: Api) -> None:
    ids = [api.submit() for _ in range(SHOWN + 5)]
    queue = demo(api)
    assert (queue["waiting"], len(queue["jobs"])) == (SHOWN + 5, SHOWN)
    assert [job["id"] for job in queue["jobs"]] == ids[:SHOWN]
    for _ in range(SHOWN + 5):
        failed(api)
    assert len(seen(api)["failures"]) == SHOWN


def test_failures_and_delayed_jobs_are_told_with_their_reason(api: Api) -> None:
    job_id = failed(api, HOSTILE, prompt=HOSTILE)
    delayed = api.submit()
    lease = lease_of(api.store.claim("demo", delayed, "w1@host", "t"))
    assert lease
    api.store.requeue(lease, OutOfMemory("x").as_job_error(), delay_s=30)
    overview = seen(api)
    (failure,) = overview["failures"]
    assert (failure["id"], failure["code"], failure["detail"]) == (
        job_id,
        OutOfMemory.code,
        HOSTILE,
    )
    assert (failure["worker"], failure["attempts"]) == ("w1@host", 1)
    (held,) = overview["delayed_jobs"]
    assert (held["id"], held["ready_s"], overview["delayed"]) == (delayed, 30.0, 1)


def test_no_prompt_and_no_secret_of_a_url_is_part_of_it(api: Api) -> None:
    hook = {"url": "https://receiver.example/hook?token=secret"}
    job_id = api.submit(prompt="very private", webhook=hook)
    api.store.cancel(job_id)
    (delivery,) = api.store.due_deliveries(1, hold_s=60)
    api.store.settle(delivery, Verdict("410", DeliveryStatus.FAILED))
    (given_up,) = seen(api)["webhooks"]["undelivered"]
    assert (given_up["job_id"], given_up["result"]) == (job_id, "410")
    text = api.client.get("/v1/admin/overview").text
    assert "very private" not in text
    assert "secret" not in text


def test_a_worker_is_drained_and_resumed(api: Api) -> None:
    live(api)
    for verb, command in (("drain", DRAIN), ("resume", RESUME)):
        answer = api.client.post(f"/v1/admin/workers/w1@host/{verb}")
        assert (answer.status_code, api.broker.told[-1]) == (200, ("w1@host", command))
        assert answer.get_json() == {"worker": "w1@host", "draining": verb == "drain"}
    missing = problem_of(api.client.post("/v1/admin/workers/w2/drain"), 404, "worker_not_found")
    assert "w1@host" in missing["detail"]
    live(api, "w3")
    api.broker.silent.add("w3")
    silent = api.client.post("/v1/admin/workers/w3/drain")
    assert problem_of(silent, 503, "worker_silent")["retryable"]


def test_a_queue_is_purged_of_what_waits(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lorajobs.steps")
    running, waiting = api.submit(), [api.submit() for _ in range(3)]
    api.run(running)
    # By its alias too.
    answer = api.client.post("/v1/admin/queues/emoji/purge")
    assert (answer.status_code, answer.get_json()) == (200, {"canceled": 3})
    assert {api.store.get(job_id).status for job_id in waiting} == {JobStatus.CANCELED}
    assert [record.message for record in caplog.records].count("canceled") == 3
    assert api.store.get(running).status is JobStatus.RUNNING
    problem_of(api.client.post("/v1/admin/queues/nope/purge"), 422, "unknown_model")


def test_an_ended_job_is_submitted_again(api: Api) -> None:
    old = failed(api)
    answer = api.client.post(f"/v1/admin/jobs/{old}/requeue")
    assert answer.status_code == 202
    new = answer.get_json()
    assert (new["retry_of"], new["status"]) == (old, "queued")
    assert answer.headers["Location"].endswith(f"/v1/jobs/{new['id']}")
    path = f"/v1/admin/jobs/{new['id']}/requeue"
    problem_of(api.client.post(path), 409, "job_not_finished")
    problem_of(api.client.post("/v1/admin/jobs/nobody/requeue"), 404, "job_not_found")


@pytest.mark.parametrize("url", [None, "https://flower.example/"])
def test_the_page_links_flower_where_there_is_one(shelf: Shelf, url: str | None) -> None:
    settings = shelf.settings.model_copy(update={"flower_url": url})
    text = Api(shelf, settings=settings).client.get("/ops").text
    assert text.count(">Flower</a>") == (url is not None)
    assert url is None or f'href="{url}"' in text
