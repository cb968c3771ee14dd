"""`POST /v1/jobs?dry_run=1`: what a submit would do, without doing it."""

import pytest

from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import AppliedLora
from lorajobs.store import QueueRules, WorkerState
from lorajobs.testing import MemoryJobStore
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST, Api, problem_of

PATH = "/v1/jobs?dry_run=1"


def warm(api: Api, sha256: str) -> None:
    """A worker that has one adapter applied."""
    used = AppliedLora(id="pixel", revision="r", sha256=sha256, scale=1.0)
    api.store.put_worker(WorkerState("w", "demo", "warm", (used,), None, disk="host:1"), 60)


def test_a_dry_run_says_what_a_submit_would_do_and_creates_nothing(api: Api) -> None:
    api.finish(api.submit())
    waiting = api.submit()
    body = REQUEST | {"model": "pixel", "loras": [{"id": "line"}], "seed": 3}
    first = api.client.post(PATH, json=body)
    assert first.status_code == 200, first.text
    told = first.get_json()
    pixel, line = told["loras"]
    assert (told["dry_run"], told["model"]) == (True, "demo")
    assert [lora["id"] for lora in (pixel, line)] == ["pixel", "line"]
    assert (pixel["scale"], pixel["tier"], len(pixel["sha256"])) == (0.8, None, 64)
    assert told["queue"] == {"position": 1, "ahead_max": 1, "eta_s": None, "reason": "no_worker"}
    warm(api, line["sha256"])
    told = api.client.post(PATH, json=body).get_json()
    assert [lora["tier"] for lora in told["loras"]] == ["remote", "applied"]
    assert told["queue"]["eta_s"] is not None
    for holder, tier in ((Holder("disk", "host:1"), "disk"), (Holder("memory", "w"), "memory")):
        api.store.put_held({holder: Holding.of([pixel["sha256"], line["sha256"]])}, 60)
        told = api.client.post(PATH, json=body).get_json()
        assert [lora["tier"] for lora in told["loras"]] == [tier, "applied"]
    assert [job["id"] for job in api.client.get("/v1/jobs?status=queued").get_json()["jobs"]] == [
        waiting
    ]
    job = api.client.post("/v1/jobs", json=body).get_json()
    assert (job["input"], job["queue"]) == (told["input"], told["queue"])


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "nix"}, "unknown_model"),
        ({"loras": [{"id": "nix"}]}, "lora_not_found"),
        ({"loras": [{"id": "far"}]}, "lora_base_mismatch"),
        ({"width": 7}, "validation"),
        ({"webhook": {"url": "https://private.example"}}, "url_not_allowed"),
    ],
)
def test_a_dry_run_refuses_what_a_submit_refuses(
    api: Api, fields: dict[str, object], code: str
) -> None:
    problem_of(api.client.post(PATH, json=REQUEST | fields), 422, code)
    problem_of(api.client.post("/v1/jobs", json=REQUEST | fields), 422, code)


def test_a_full_queue_is_told(shelf: Shelf) -> None:
    store = MemoryJobStore(QueueRules(max_waiting=1))
    api = Api(shelf, store=store, events=store)
    assert api.client.post(PATH, json=REQUEST).status_code == 200
    api.submit()
    problem_of(api.client.post(PATH, json=REQUEST), 429, "queue_full")


@pytest.mark.parametrize("value", ["2", "", "maybe"])
def test_a_value_that_is_neither(api: Api, value: str) -> None:
    document = problem_of(
        api.client.post(f"/v1/jobs?dry_run={value}", json=REQUEST), 422, "validation"
    )
    assert document["errors"] == [
        {"pointer": "/dry_run", "detail": document["errors"][0]["detail"]}
    ]
    assert "`1` or `0`" in document["errors"][0]["detail"]


def test_no_dry_run_is_a_submit(api: Api) -> None:
    assert api.client.post("/v1/jobs?dry_run=0", json=REQUEST).status_code == 202


def test_a_parameter_that_does_not_exist_is_refused(api: Api) -> None:
    problem_of(api.client.post("/v1/jobs?dryrun=1", json=REQUEST), 422, "validation")
    assert not api.client.get("/v1/jobs").get_json()["jobs"]
