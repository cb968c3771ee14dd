"""`/v1/models` over HTTP."""

import pytest

from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import AppliedLora
from lorajobs.store import WorkerState
from tests.unit.web.api import Api, problem_of

PIXEL = AppliedLora(id="pixel", revision="r", sha256="s", scale=0.8)


def worker(name: str, state: str, model: str = "demo", job_id: str | None = None) -> WorkerState:
    loaded = [PIXEL] if state == "warm" else []
    return WorkerState(name, model, state, loaded, job_id, placement="host" if loaded else "")


def _sha256_of(api: Api, lora_id: str) -> str:
    """Of the version that a job would get, which is pinned by that."""
    body = {"model": lora_id, "prompt": "x"}
    (lora,) = api.client.post("/v1/jobs?dry_run=1", json=body).get_json()["loras"]
    return str(lora["sha256"])


def test_models_are_shown_with_defaults_limits_and_schedulers(api: Api) -> None:
    api.submit()
    demo, cousin, third = api.client.get("/v1/models").get_json()["models"]
    assert [demo["id"], cousin["id"], third["id"]] == ["demo", "cousin", "third"]
    assert demo["aliases"] == ["emoji"]
    assert demo["repo"] == "owner/demo"
    assert demo["accepts"] == ["family/original"]
    assert demo["schedulers"] == ["DDIMScheduler", "EulerDiscreteScheduler"]
    assert demo["defaults"] == api.shelf.catalog.models["demo"].defaults.model_dump()
    assert demo["limits"] == api.shelf.catalog.models["demo"].limits.model_dump()
    assert (demo["waiting"], third["waiting"]) == (1, 0)
    assert (demo["state"], demo["workers"]) == ("cold", [])


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], "cold"),
        (["loading"], "loading"),
        (["warm"], "warm"),
        (["loading", "warm"], "warm"),
        (["draining"], "draining"),
        (["draining", "warm"], "warm"),
    ],
)
def test_a_model_is_as_warm_as_its_warmest_worker(api: Api, states: list[str], state: str) -> None:
    api.store.put_worker(worker("other", "loading", model="third"), ttl_s=6)
    for name, each in enumerate(states):
        api.store.put_worker(worker(str(name), each), ttl_s=6)
    demo = api.client.get("/v1/models").get_json()["models"][0]
    assert demo["state"] == state
    assert [w["state"] for w in demo["workers"]] == states


def test_a_parked_base_is_nearer_than_one_that_nobody_has(api: Api) -> None:
    parking = worker("w", "warm", model="cousin")._replace(parked=("demo",))
    api.store.put_worker(parking, ttl_s=6)
    demo, cousin, third = api.client.get("/v1/models").get_json()["models"]
    assert [model["state"] for model in (demo, cousin, third)] == ["parked", "warm", "cold"]
    assert (demo["workers"], cousin["workers"][0]["parked"]) == ([], ["demo"])
    api.store.put_worker(worker("other", "warm"), ttl_s=6)
    assert api.client.get("/v1/models").get_json()["models"][0]["state"] == "warm"


def test_a_worker_shows_what_it_has_loaded_but_not_whose_job(api: Api) -> None:
    api.store.put_worker(worker("demo-1@host", "warm", job_id="secret"), ttl_s=6)
    there = [_sha256_of(api, "pixel"), "of an adapter that was given by a reference"]
    api.store.put_held({Holder("memory", "demo-1@host"): Holding.of(there)}, 6)
    answer = api.client.get("/v1/models")
    (shown,) = answer.get_json()["models"][0]["workers"]
    (loaded,) = shown.pop("loaded")
    assert shown.pop("memory") == ["pixel"]
    assert shown == {
        "name": "demo-1@host",
        "state": "warm",
        "busy": True,
        "placement": "host",
        "parked": [],
    }
    assert (loaded["id"], loaded["scale"]) == ("pixel", 0.8)
    assert "secret" not in answer.text


def test_a_dead_worker_warms_nothing(api: Api) -> None:
    api.store.put_worker(worker("demo-1@host", "warm"), ttl_s=6)
    api.clock.advance(7)
    assert api.client.get("/v1/models").get_json()["models"][0]["state"] == "cold"


def test_parameters_are_refused(api: Api) -> None:
    document = problem_of(api.client.get("/v1/models?state=warm"), 422, "validation")
    assert document["errors"] == [{"pointer": "/state", "detail": "unknown field; known are none"}]
