"""`POST /v1/loras` with `upload`: the file goes to the object store, and is looked at then."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from werkzeug.test import TestResponse

from lorajobs.adapters.awaited import AwaitedUploads, key_of, sweep
from lorajobs.adapters.registry import LoraRecord
from lorajobs.api_keys import OPERATOR
from lorajobs.storage.folder import FolderStore
from tests.lora_files import fetched
from tests.shelf import PUBLIC_URL, Shelf, weights
from tests.unit.web.api import REQUEST, Api, problem_of
from tests.unit.web.keyed import Keyed, Shared

HEART = weights("heart")


def said(data: bytes = HEART, **fields: Any) -> dict[str, Any]:
    upload = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {"id": "heart", "base": "demo", "upload": upload, **fields}


def begin(api: Api, data: bytes = HEART, **fields: Any) -> dict[str, Any]:
    answer = api.client.post("/v1/loras", json=said(data, **fields))
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def put(api: Api, document: dict[str, Any], data: bytes = HEART) -> TestResponse:
    upload = document["upload"]
    assert upload["method"] == "PUT"
    assert upload["url"].startswith(PUBLIC_URL)
    parts = urlsplit(upload["url"])
    path = f"{parts.path}?{parts.query}"
    return api.client.put(path, data=data, headers=upload["headers"])


def complete(api: Api, lora_id: str = "heart") -> TestResponse:
    return api.client.post(f"/v1/loras/{lora_id}/complete")


def test_a_file_that_was_sent_and_completed_serves_jobs(api: Api) -> None:
    begun = begin(api, scale=0.7, trigger_words=["heart"], license="MIT")
    assert (begun["status"], begun["sha256"], begun["source"]) == ("awaiting_upload", None, None)
    told = {name: value for name, value in begun.items() if name != "upload"}
    assert api.client.get("/v1/loras/heart").get_json() == told
    assert put(api, begun).status_code == 200
    answer = complete(api)
    assert answer.status_code == 200, answer.text
    ready = answer.get_json()
    assert (ready["status"], ready["sha256"]) == ("ready", hashlib.sha256(HEART).hexdigest())
    assert (ready["scale"], ready["trigger_words"], ready["license"]) == (0.7, ["heart"], "MIT")
    assert ready["source"].startswith("upload:")
    assert api.client.get("/v1/loras/heart").get_json() == ready
    (use,) = api.store.get(api.submit(model="heart")).spec.loras
    assert fetched(api.shelf.library, use.adapter) == HEART
    assert not api.shelf.objects.exists(key_of("heart"))
    # After a lost reply.
    assert complete(api).get_json() == ready


class Interrupted(FolderStore):
    """Something happens just before an object is read, or looked for."""

    meanwhile: Callable[[], object] | None = None
    at = "fetch"

    def fetch(self, key: str, target: Path, max_bytes: int) -> None:
        self._happens("fetch")
        super().fetch(key, target, max_bytes)

    def exists(self, key: str) -> bool:
        self._happens("exists")
        return super().exists(key)

    def _happens(self, at: str) -> None:
        if self.meanwhile and at == self.at:
            happens, self.meanwhile = self.meanwhile, None
            happens()


def interrupted(api: Api, meanwhile: Callable[[], object], at: str = "fetch") -> LoraRecord:
    """A completion during which something else happens."""
    shelf = api.shelf
    objects = Interrupted(shelf.folder, PUBLIC_URL, 3600)
    objects.meanwhile, objects.at = meanwhile, at
    uploads = AwaitedUploads(shelf.settings, shelf.library, api.awaited, objects)
    return uploads.complete("heart", OPERATOR)


@pytest.mark.parametrize("at", ["fetch", "exists"])
def test_who_completes_it_at_the_same_time_is_told_the_same(api: Api, at: str) -> None:
    put(api, begin(api))
    record = interrupted(api, lambda: complete(api), at)
    assert record.source == api.client.get("/v1/loras/heart").get_json()["source"]


def test_a_file_announced_meanwhile_is_still_awaited(api: Api) -> None:
    put(api, begin(api))
    newer: list[dict[str, Any]] = []
    first = interrupted(api, lambda: newer.append(begin(api, weights("newer"))))
    assert first.adapter
    assert first.adapter.sha256 == hashlib.sha256(HEART).hexdigest()
    put(api, newer[0], weights("newer"))
    second = complete(api).get_json()
    assert second["sha256"] == hashlib.sha256(weights("newer")).hexdigest()


def test_a_job_that_names_it_before_is_told_so(api: Api) -> None:
    begin(api)
    for fields, pointer in (({"model": "heart"}, "/model"), ({"loras": [{"id": "heart"}]}, "")):
        for path in ("/v1/jobs", "/v1/jobs?dry_run=1"):
            answer = api.client.post(path, json=REQUEST | fields)
            document = problem_of(answer, 422, "lora_not_ready")
            assert "/v1/loras/heart/complete" in document["detail"]
            assert document["errors"][0]["pointer"] == (pointer or "/loras/0/id")


def test_a_version_serves_until_the_next_is_ready(api: Api) -> None:
    put(api, begin(api))
    first = complete(api).get_json()
    newer = begin(api, weights("newer"))
    assert api.client.get("/v1/loras/heart").get_json() == first
    api.submit(model="heart")
    put(api, newer, weights("newer"))
    second = complete(api).get_json()
    assert second["sha256"] == hashlib.sha256(weights("newer")).hexdigest()
    assert api.client.get("/v1/loras/heart").get_json() == second


def test_nothing_is_completed_before_its_file_came(api: Api) -> None:
    document = problem_of(complete(api), 404, "lora_not_registered")
    assert document["detail"].startswith("no upload is awaited")
    problem_of(complete(api, "pixel"), 404, "lora_not_registered")
    begun = begin(api)
    problem_of(complete(api), 409, "upload_awaited")
    refused = problem_of(put(api, begun, b"x" * len(HEART)), 422, "upload_mismatch")
    assert "announced was" in refused["detail"]
    problem_of(put(api, begun, HEART + b"x"), 422, "upload_mismatch")
    problem_of(complete(api), 409, "upload_awaited")
    assert put(api, begun).status_code == 200
    assert complete(api).status_code == 200


def test_a_store_that_takes_any_bytes_is_found_out(api: Api) -> None:
    begin(api)
    for other in (b"x" * len(HEART), HEART[:-1]):
        api.shelf.objects.put(key_of("heart"), other, "application/octet-stream")
        problem_of(complete(api), 422, "upload_mismatch")
    # It is still awaited: the right bytes may come.
    api.shelf.objects.put(key_of("heart"), HEART, "application/octet-stream")
    assert complete(api).status_code == 200


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"<html>Log in</html>", "lora_invalid_file"), (b"\x80\x02pickle" * 9, "lora_pickle")],
)
def test_what_is_no_adapter_is_refused_and_awaited_no_more(
    api: Api, data: bytes, code: str
) -> None:
    put(api, begin(api, data), data)
    problem_of(complete(api), 422, code)
    problem_of(api.client.get("/v1/loras/heart"), 404, "lora_not_registered")
    problem_of(complete(api), 404, "lora_not_registered")
    assert not api.shelf.objects.exists(key_of("heart"))
    assert put(api, begin(api)).status_code == 200
    assert complete(api).status_code == 200


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"source": "hf:a/b"}, "validation", ""),
        ({"upload": None}, "validation", ""),
        ({"weight_name": "a.safetensors"}, "validation", ""),
        ({"upload": {"bytes": 0, "sha256": "0" * 64}}, "validation", "/upload/bytes"),
        ({"upload": {"bytes": 5, "sha256": "x"}}, "validation", "/upload/sha256"),
        ({"upload": {"bytes": 2**40, "sha256": "0" * 64}}, "lora_too_large", "/upload/bytes"),
        ({"base": None}, "validation", "/base"),
        ({"base": "nix"}, "unknown_model", "/base"),
        ({"id": "pixel"}, "validation", "/id"),
        ({"id": "demo"}, "validation", "/id"),
    ],
)
def test_a_wrong_announcement_names_the_field(
    api: Api, fields: dict[str, Any], code: str, pointer: str
) -> None:
    document = problem_of(api.client.post("/v1/loras", json=said() | fields), 422, code)
    assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_an_abandoned_upload_is_swept(api: Api) -> None:
    put(api, begin(api))
    late = begin(api, id="late")
    api.clock.advance(3600 + 3599)
    sweep(api.awaited, api.shelf.objects, 10)
    assert api.shelf.objects.exists(key_of("heart"))
    api.clock.advance(1)
    sweep(api.awaited, api.shelf.objects, 10)
    assert not api.shelf.objects.exists(key_of("heart"))
    for lora_id in ("heart", "late"):
        problem_of(complete(api, lora_id), 404, "lora_not_registered")
    assert late["upload"]["expires_at"].endswith("Z")


def test_what_comes_after_the_end_is_swept_too(api: Api) -> None:
    begun = begin(api)
    put(api, begun)
    complete(api)
    assert put(api, begun).status_code == 200
    api.clock.advance(7201)
    sweep(api.awaited, api.shelf.objects, 10)
    assert not api.shelf.objects.exists(key_of("heart"))
    assert api.client.get("/v1/loras/heart").get_json()["status"] == "ready"


def test_it_can_be_given_up(api: Api) -> None:
    put(api, begin(api))
    assert api.client.delete("/v1/loras/heart").status_code == 204
    problem_of(api.client.delete("/v1/loras/heart"), 404, "lora_not_registered")
    problem_of(complete(api), 404, "lora_not_registered")
    assert not api.shelf.objects.exists(key_of("heart"))


def test_a_url_that_was_changed_is_403(api: Api) -> None:
    begun = begin(api)
    for old, new in (("bytes=", "bytes=1"), ("signature=", "signature=0"), ("incoming", "jobs")):
        changed = begun["upload"] | {"url": begun["upload"]["url"].replace(old, new)}
        document = problem_of(put(api, {"upload": changed}), 403, "forbidden")
        assert "announce the file again" in document["detail"]


def test_an_upload_is_its_keys_own(shelf: Shelf) -> None:
    shared = Shared(shelf)

    def ask(who: Keyed, **fields: Any) -> dict[str, Any]:
        answer = who.post("/v1/loras", json=said(**fields))
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.get_json()
        return document

    for visibility in ("private", "public"):
        begun = ask(shared.anna, visibility=visibility)
        # The URL needs no key.
        assert put(shared.api, begun).status_code == 200
        for who in (shared.ben, shared.root):
            problem_of(who.post("/v1/loras/heart/complete"), 404, "lora_not_registered")
            problem_of(who.get("/v1/loras/heart"), 404, "lora_not_registered")
            job = who.post("/v1/jobs", json=REQUEST | {"model": "heart"})
            problem_of(job, 422, "unknown_model")
        shared.anna.ask("DELETE", "/v1/loras/heart")
    put(shared.api, ask(shared.anna))
    ready = shared.anna.post("/v1/loras/heart/complete").get_json()
    assert (ready["owner"], ready["visibility"]) == (shared.anna.key.id, "private")
    shared.anna.submit(model="heart")
