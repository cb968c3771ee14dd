"""Adapters that belong to a key: private ones are there for nobody else."""

from typing import Any

import pytest

from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import AppliedLora
from lorajobs.store import WorkerState
from tests.shelf import Shelf, weights
from tests.unit.web.api import REQUEST, problem_of
from tests.unit.web.keyed import Keyed, Shared


@pytest.fixture
def shared(shelf: Shelf) -> Shared:
    return Shared(shelf)


def register(who: Keyed, lora_id: str = "heart", file: str = "heart", **fields: Any) -> Any:
    source = who.api.shelf.file(file)
    body = {"id": lora_id, "source": source, "base": "demo"} | fields
    answer = who.post("/v1/loras", json=body)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def test_a_registration_is_its_keys_own_unless_it_says_otherwise(shared: Shared) -> None:
    document = register(shared.anna)
    assert (document["owner"], document["visibility"]) == (shared.anna.key.id, "private")
    assert shared.anna.get("/v1/loras/heart").get_json() == document
    assert register(shared.anna, "open", visibility="public")["visibility"] == "public"
    configured = shared.ben.get("/v1/loras/pixel").get_json()
    assert (configured["owner"], configured["visibility"]) == (None, "public")


def test_another_keys_private_adapter_is_nowhere(shared: Shared) -> None:
    sha = register(shared.anna, "secret-heart")["sha256"]
    use = AppliedLora(id="secret-heart", revision="r", sha256=sha, scale=1)
    reference = AppliedLora(id="hf:anna/private", revision="r", sha256="0" * 64, scale=1)
    shared.api.store.put_worker(WorkerState("w", "demo", "warm", [use, reference], None), 60)
    shared.api.store.put_held({Holder("memory", "w"): Holding.of([sha])}, 60)
    ben = shared.ben
    answers = [
        problem_of(ben.get("/v1/loras/secret-heart"), 404, "lora_not_registered"),
        problem_of(ben.ask("DELETE", "/v1/loras/secret-heart"), 404, "lora_not_registered"),
    ]
    for fields, code in (
        ({"model": "secret-heart"}, "unknown_model"),
        ({"loras": [{"id": "secret-heart"}]}, "lora_not_found"),
        ({"loras": [{"id": f"{shared.anna.key.id}:secret-heart"}]}, "lora_not_found"),
        ({"loras": [{"id": "secret-hart"}]}, "lora_not_found"),
        ({"model": "secret-hart"}, "unknown_model"),
    ):
        for path in ("/v1/jobs", "/v1/jobs?dry_run=1"):
            answers.append(problem_of(ben.post(path, json=REQUEST | fields), 422, code))
    for answer in answers:
        known = answer["detail"].partition("known are")[2]
        assert known
        assert "secret" not in known
    for path in ("/v1/loras", "/v1/models"):
        assert "secret" not in ben.get(path).text
        assert "anna/private" not in ben.get(path).text
    # Its key and an admin see it all.
    assert "secret-heart" in shared.anna.get("/v1/models").text
    assert [in_memory(who) for who in (ben, shared.anna, shared.root)] == [
        *([], ["secret-heart"], [f"{shared.anna.key.id}:secret-heart"])
    ]
    assert "anna/private" not in shared.anna.get("/v1/models").text
    assert "anna/private" in shared.root.get("/v1/models").text


def in_memory(who: Keyed) -> list[str]:
    """What the only worker has there, as this key sees it."""
    (worker,) = who.get("/v1/models").get_json()["models"][0]["workers"]
    return list(worker["memory"])


def test_the_owner_uses_it_by_every_name(shared: Shared) -> None:
    document = register(shared.anna)
    for fields in ({"model": "heart"}, {"loras": [{"id": "heart"}]}):
        job = shared.anna.get(f"/v1/jobs/{shared.anna.submit(**fields)}").get_json()
        assert job["input"]["loras"] == [{"id": "heart", "scale": 1.0}]
        (use,) = shared.api.store.get(job["id"]).spec.loras
        assert use.adapter.sha256 == document["sha256"]
    detail = shared.anna.get("/v1/loras/hart").get_json()["detail"]
    assert "`heart`" in detail


def test_two_keys_may_give_one_id_to_different_adapters(shared: Shared) -> None:
    mine, theirs = register(shared.anna, file="a"), register(shared.ben, file="b")
    assert mine["sha256"] != theirs["sha256"]
    for who, document in ((shared.anna, mine), (shared.ben, theirs)):
        assert who.get("/v1/loras/heart").get_json() == document
        job_id = who.submit(model="heart")
        (use,) = shared.api.store.get(job_id).spec.loras
        assert use.adapter.sha256 == document["sha256"]
    assert shared.anna.ask("DELETE", "/v1/loras/heart").status_code == 204
    assert shared.anna.get("/v1/loras/heart").status_code == 404
    assert shared.ben.get("/v1/loras/heart").get_json() == theirs


def test_a_public_adapter_is_everyones_to_use_and_its_keys_to_change(shared: Shared) -> None:
    document = register(shared.anna, visibility="public")
    assert shared.ben.get("/v1/loras/heart").get_json() == document
    shared.ben.submit(model="heart")
    problem_of(shared.ben.ask("DELETE", "/v1/loras/heart"), 403, "scope_missing")
    body = {"id": "heart", "source": shared.api.shelf.file("other"), "base": "demo"}
    taken = shared.ben.post("/v1/loras", json=body | {"visibility": "public"})
    assert [e["pointer"] for e in problem_of(taken, 422, "validation")["errors"]] == ["/id"]
    # A private one of that id comes first, for its owner alone.
    own = register(shared.ben, file="other")
    assert shared.ben.get("/v1/loras/heart").get_json() == own
    assert shared.anna.get("/v1/loras/heart").get_json() == document
    newer = register(shared.anna, file="newer", visibility="public")
    assert newer["sha256"] != document["sha256"]


def test_who_changes_its_mind_has_one_adapter_not_two(shared: Shared) -> None:
    register(shared.anna, visibility="public")
    assert register(shared.anna)["visibility"] == "private"
    assert shared.ben.get("/v1/loras/heart").status_code == 404
    assert len(shared.root.get("/v1/loras").get_json()["loras"]) == 4
    register(shared.anna, visibility="public")
    assert shared.ben.get("/v1/loras/heart").status_code == 200
    assert len(shared.root.get("/v1/loras").get_json()["loras"]) == 4


def test_an_admin_finds_anothers_by_the_name_that_its_list_shows(shared: Shared) -> None:
    register(shared.anna)
    name = f"{shared.anna.key.id}:heart"
    assert shared.root.ids("/v1/loras") == {"pixel", "line", "far", name}
    assert shared.root.get("/v1/loras/heart").status_code == 404
    assert shared.root.get(f"/v1/loras/{name}").get_json()["id"] == name
    shared.root.submit(loras=[{"id": name}])
    assert shared.root.ask("DELETE", f"/v1/loras/{name}").status_code == 204
    assert shared.anna.get("/v1/loras/heart").status_code == 404


def test_a_configured_adapter_is_nobodys(shared: Shared) -> None:
    for who in (shared.anna, shared.root):
        problem_of(who.ask("DELETE", "/v1/loras/pixel"), 422, "validation")
        body = {"id": "pixel", "source": shared.api.shelf.file("x"), "base": "demo"}
        problem_of(who.post("/v1/loras", json=body), 422, "validation")


def test_the_same_bytes_under_two_keys_stay_two_adapters(shared: Shared) -> None:
    # Nothing of what another key says of an adapter comes with its bytes.
    register(shared.anna, trigger_words=["hush"], license="anna's")
    other = register(shared.ben, "mine")
    assert weights("heart") == (shared.api.shelf.root / "heart.safetensors").read_bytes()
    assert (other["trigger_words"], other["license"], other["id"]) == ([], None, "mine")
