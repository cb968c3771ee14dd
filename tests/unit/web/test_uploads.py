"""`PUT /v1/loras/{id}`: files that come with their registration."""

import hashlib
import io
from typing import Any

import pytest
from werkzeug.test import TestResponse

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from tests.lora_files import fetched
from tests.shelf import PUBLIC_URL, Shelf, weights
from tests.unit.web.api import REQUEST, Api, problem_of
from tests.unit.web.keyed import Shared

BINARY = "application/octet-stream"
PATH = "/v1/loras/heart?base=demo"


def put(
    api: Api, data: bytes | None = weights("heart"), path: str = PATH, **options: Any
) -> TestResponse:
    return api.client.put(path, **{"data": data, "content_type": BINARY, **options})


def chunked(data: bytes) -> dict[str, Any]:
    """A body whose length nobody tells."""
    terminated = {"wsgi.input_terminated": True}
    return {"data": None, "input_stream": io.BytesIO(data), "environ_overrides": terminated}


@pytest.fixture
def narrow(shelf: Shelf) -> Api:
    """An API that takes 300 bytes."""
    settings = shelf.settings.model_copy(update={"lora_max_bytes": 300})
    library = Library(settings, shelf.catalog, MemoryLoraRegistry(), shelf.objects)
    return Api(shelf, settings=settings, library=library)


def left(api: Api) -> list[str]:
    """The adapters' bytes that are on the disk."""
    folder = api.shelf.settings.data_dir / "adapters"
    return [path.name for path in folder.glob("*") if path.is_file()]


@pytest.mark.parametrize("how", [{}, chunked(weights("heart"))])
def test_an_uploaded_file_is_registered_and_serves_jobs(api: Api, how: dict[str, Any]) -> None:
    answer = put(api, path=f"{PATH}&scale=0.7&license=MIT", **how)
    assert answer.status_code == 201, answer.text
    document = answer.get_json()
    assert answer.headers["Location"] == f"{PUBLIC_URL}/v1/loras/heart"
    assert document["sha256"] == hashlib.sha256(weights("heart")).hexdigest()
    assert document["bytes"] == len(weights("heart"))
    assert (document["scale"], document["license"], document["base"]) == (0.7, "MIT", "demo")
    assert document["weight_name"] == "heart.safetensors"
    assert api.client.get("/v1/loras/heart").get_json() == document
    for _ in range(2):
        (use,) = api.store.get(api.submit(model="heart")).spec.loras
        assert use.scale == 0.7
        assert fetched(api.shelf.library, use.adapter) == weights("heart")


def test_the_same_id_again_is_a_new_version_and_waiting_jobs_keep_theirs(api: Api) -> None:
    put(api)
    job_id = api.submit(model="heart")
    newer = put(api, weights("newer")).get_json()
    assert newer["sha256"] == hashlib.sha256(weights("newer")).hexdigest()
    (use,) = api.store.get(job_id).spec.loras
    assert fetched(api.shelf.library, use.adapter) == weights("heart")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "lora_invalid_file"),
        (b"x", "lora_invalid_file"),
        (b"<html>Log in</html>", "lora_invalid_file"),
        (b"\x80\x02pickle" * 9, "lora_pickle"),
    ],
)
def test_what_is_no_adapter_is_refused_and_not_kept(api: Api, data: bytes, code: str) -> None:
    before = left(api)
    document = problem_of(put(api, data), 422, code)
    assert [error["pointer"] for error in document["errors"]] == [""]
    problem_of(api.client.get("/v1/loras/heart"), 404, "lora_not_registered")
    assert left(api) == before


def test_a_file_that_is_too_large_is_refused(narrow: Api) -> None:
    assert put(narrow).status_code == 201
    kept = left(narrow)
    large = weights("x" * 300)
    told = problem_of(put(narrow, large), 422, "lora_too_large")
    assert "allowed are 300" in told["detail"]
    problem_of(put(narrow, **chunked(large)), 422, "lora_too_large")
    assert left(narrow) == kept


def test_a_large_file_is_refused_before_any_of_it_came(narrow: Api) -> None:
    announced = {"CONTENT_LENGTH": "301"}
    answer = put(narrow, data=None, input_stream=io.BytesIO(), environ_overrides=announced)
    document = problem_of(answer, 422, "lora_too_large")
    assert document["detail"] == "the file has 301 bytes, allowed are 300"


@pytest.mark.parametrize(
    ("path", "code", "pointer"),
    [
        ("/v1/loras/heart", "validation", "/base"),
        ("/v1/loras/heart?base=nix", "unknown_model", "/base"),
        ("/v1/loras/heart?base=demo&scale=9", "validation", "/scale"),
        ("/v1/loras/heart?base=demo&visibility=all", "validation", "/visibility"),
        ("/v1/loras/heart?base=demo&source=hf:a/b", "validation", "/source"),
        ("/v1/loras/heart?base=demo&id=b", "validation", "/id"),
        ("/v1/loras/a~b?base=demo", "validation", "/id"),
        ("/v1/loras/pixel?base=demo", "validation", "/id"),
        ("/v1/loras/demo?base=demo", "validation", "/id"),
    ],
)
def test_a_wrong_upload_names_the_field(api: Api, path: str, code: str, pointer: str) -> None:
    document = problem_of(put(api, path=path), 422, code)
    assert [error["pointer"] for error in document["errors"]] == [pointer]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain"])
def test_only_the_file_itself_is_taken(api: Api, kind: str) -> None:
    problem_of(put(api, content_type=kind), 415, "unsupported_media_type")


def test_an_upload_cannot_be_named_from_outside(api: Api) -> None:
    put(api)
    source = api.client.get("/v1/loras/heart").get_json()["source"]
    assert source.startswith("upload:")
    job = api.client.post("/v1/jobs", json=REQUEST | {"loras": [{"path": source}]})
    problem_of(job, 422, "url_not_allowed")
    again = api.client.post("/v1/loras", json={"id": "x", "source": source, "base": "demo"})
    problem_of(again, 422, "url_not_allowed")


def test_an_upload_with_a_key_is_its_own(shelf: Shelf) -> None:
    shared = Shared(shelf)
    answer = shared.anna.ask("PUT", PATH, data=weights("heart"), content_type=BINARY)
    assert (answer.status_code, answer.get_json()["visibility"]) == (201, "private")
    assert shared.ben.get("/v1/loras/heart").status_code == 404
    public = f"{PATH}&visibility=public"
    assert shared.anna.ask("PUT", public, data=b"x", content_type=BINARY).status_code == 422
    assert shared.anna.get("/v1/loras/heart").get_json() == answer.get_json()
