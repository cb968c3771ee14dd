"""`/v1/loras` over HTTP."""

from typing import Any

import pytest

from tests.lora_files import fetched
from tests.shelf import PUBLIC_URL
from tests.unit.web.api import Api, problem_of


def registered(api: Api, **fields: Any) -> dict[str, Any]:
    source = api.shelf.file("heart")
    body = {"id": "heart", "source": source, "base": "demo"} | fields
    answer = api.client.post("/v1/loras", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"{PUBLIC_URL}/v1/loras/heart"
    document: dict[str, Any] = answer.get_json()
    return document


def test_configured_adapters_are_listed(api: Api) -> None:
    loras = api.client.get("/v1/loras").get_json()["loras"]
    assert [(lora["id"], lora["base"], lora["configured"]) for lora in loras] == [
        ("far", "third", True),
        ("line", "demo", True),
        ("pixel", "demo", True),
    ]
    assert loras[2]["scale"] == 0.8


def test_an_adapter_is_registered_and_pinned(api: Api) -> None:
    words = {"scale": 0.7, "trigger_words": ["a heart"], "license": "MIT"}
    document = registered(api, **words)
    assert document.items() >= words.items()
    assert document["weight_name"] == "heart.safetensors"
    assert document["revision"] == f"sha256:{document['sha256']}"
    assert document["bytes"] > 0
    assert document["configured"] is False
    assert document["created_at"].endswith("Z")
    assert api.client.get("/v1/loras/heart").get_json() == document
    ids = [lora["id"] for lora in api.client.get("/v1/loras").get_json()["loras"]]
    assert ids == ["far", "heart", "line", "pixel"]


def test_a_path_of_the_server_is_not_shown(api: Api) -> None:
    registered(api)
    for path in ("/v1/loras", "/v1/loras/heart", "/v1/models"):
        assert str(api.shelf.root.parent) not in api.client.get(path).text


def test_a_registered_adapter_serves_jobs_by_its_id(api: Api) -> None:
    document = registered(api, scale=0.7)
    job = api.client.get(f"/v1/jobs/{api.submit(model='heart')}").get_json()
    assert job["input"]["model"] == "demo"
    assert job["input"]["loras"] == [{"id": "heart", "scale": 0.7}]
    job = api.client.get(f"/v1/jobs/{api.submit(loras=[{'id': 'heart'}])}").get_json()
    (use,) = api.store.get(job["id"]).spec.loras
    assert use.adapter.sha256 == document["sha256"]


def test_a_waiting_job_keeps_its_version_when_the_registration_ends(api: Api) -> None:
    document = registered(api)
    job_id = api.submit(loras=[{"id": "heart"}])
    answer = api.client.delete("/v1/loras/heart")
    assert (answer.status_code, answer.data) == (204, b"")
    problem_of(api.client.get("/v1/loras/heart"), 404, "lora_not_registered")
    problem_of(api.client.delete("/v1/loras/heart"), 404, "lora_not_registered")
    (use,) = api.store.get(job_id).spec.loras
    assert use.adapter.sha256 == document["sha256"]
    assert fetched(api.shelf.library, use.adapter)


def test_a_configured_adapter_cannot_be_removed(api: Api) -> None:
    problem_of(api.client.delete("/v1/loras/pixel"), 422, "validation")
    assert api.client.get("/v1/loras/pixel").status_code == 200


def test_an_unknown_adapter_is_404_with_the_nearest(api: Api) -> None:
    document = problem_of(api.client.get("/v1/loras/pixl"), 404, "lora_not_registered")
    assert "known are `pixel`" in document["detail"]


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"id": "a b"}, "validation", "/id"),
        ({"id": "pixel"}, "validation", "/id"),
        ({"id": "demo"}, "validation", "/id"),
        ({"id": "emoji"}, "validation", "/id"),
        ({"base": "nix"}, "unknown_model", "/base"),
        ({"base": None}, "validation", "/base"),
        ({"source": "heart"}, "validation", "/source"),
        ({"source": "/etc/passwd"}, "path_not_allowed", "/source"),
        ({"scale": 6}, "validation", "/scale"),
        ({"licence": "MIT"}, "validation", "/licence"),
    ],
)
def test_a_wrong_registration_names_the_field(
    api: Api, fields: dict[str, Any], code: str, pointer: str
) -> None:
    body = {"id": "heart", "source": api.shelf.file("heart"), "base": "demo"} | fields
    document = problem_of(api.client.post("/v1/loras", json=body), 422, code)
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert len(api.client.get("/v1/loras").get_json()["loras"]) == 3


def test_several_files_ask_for_a_weight_name(api: Api) -> None:
    body = {"id": "heart", "source": str(api.shelf.root), "base": "demo"}
    document = problem_of(api.client.post("/v1/loras", json=body), 422, "lora_several_files")
    assert [error["pointer"] for error in document["errors"]] == ["/weight_name"]
    body["weight_name"] = "line.safetensors"
    assert api.client.post("/v1/loras", json=body).status_code == 201


@pytest.mark.parametrize("path", ["/v1/loras?base=demo", "/v1/loras/pixel?base=demo"])
def test_parameters_are_refused(api: Api, path: str) -> None:
    document = problem_of(api.client.get(path), 422, "validation")
    assert [error["pointer"] for error in document["errors"]] == ["/base"]
