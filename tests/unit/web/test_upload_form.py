"""`POST /v1/loras` with a form: the file and its fields in one request."""

import hashlib
import io
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from lorajobs.adapters.awaited import AwaitedUploads
from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.testing import MemoryAwaited
from tests.shelf import PUBLIC_URL, Shelf, weights
from tests.unit.web.api import Api, problem_of

HEART = weights("heart")
KIND = "multipart/form-data; boundary=x"
FIELDS = {"id": "heart", "base": "demo"}


def file(data: bytes = HEART) -> tuple[io.BytesIO, str]:
    return io.BytesIO(data), "style.safetensors"


def post(api: Api, data: bytes = HEART, **fields: Any) -> TestResponse:
    form = FIELDS | {"file": file(data)} | fields
    given = {name: value for name, value in form.items() if value is not None}
    return api.client.post("/v1/loras", data=given, content_type="multipart/form-data")


def left(api: Api) -> list[Path]:
    folder = api.shelf.settings.data_dir
    return [path for path in folder.rglob("*") if path.is_file() and "locks" not in path.parts]


def test_a_form_registers_its_file(api: Api) -> None:
    words = ["heart", "red, or so"]
    answer = post(api, scale="0.7", license="MIT", trigger_words=words, visibility="private")
    assert answer.status_code == 201, answer.text
    document = answer.get_json()
    assert answer.headers["Location"] == f"{PUBLIC_URL}/v1/loras/heart"
    assert document["sha256"] == hashlib.sha256(HEART).hexdigest()
    assert (document["scale"], document["license"]) == (0.7, "MIT")
    assert (document["trigger_words"], document["visibility"]) == (words, "private")
    assert (document["status"], document["weight_name"]) == ("ready", "heart.safetensors")
    assert post(api, trigger_words="one").get_json()["trigger_words"] == ["one"]


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"id": None}, "validation", "/id"),
        ({"id": "a~b"}, "validation", "/id"),
        ({"base": None}, "validation", "/base"),
        ({"base": "nix"}, "unknown_model", "/base"),
        ({"scale": "9"}, "validation", "/scale"),
        ({"source": "hf:a/b"}, "validation", "/source"),
        ({"file": None}, "validation", "/file"),
        ({"file": "text"}, "validation", "/file"),
        ({"other": file()}, "validation", "/file"),
    ],
)
def test_a_wrong_form_names_the_field(
    api: Api, fields: dict[str, Any], code: str, pointer: str
) -> None:
    answer = post(api, **fields)
    document = problem_of(answer, 422, code)
    assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_what_is_no_adapter_is_refused_and_not_kept(api: Api) -> None:
    before = left(api)
    problem_of(post(api, b"<html>Log in</html>"), 422, "lora_invalid_file")
    problem_of(api.client.get("/v1/loras/heart"), 404, "lora_not_registered")
    assert left(api) == before


def narrow(shelf: Shelf) -> Api:
    """An API that takes 300 bytes."""
    settings = shelf.settings.model_copy(update={"lora_max_bytes": 300})
    library = Library(settings, shelf.catalog, MemoryLoraRegistry(), shelf.objects)
    uploads = AwaitedUploads(settings, library, MemoryAwaited(), shelf.objects)
    return Api(shelf, settings=settings, library=library, uploads=uploads)


@pytest.mark.parametrize("size", [301, 400_000])
def test_a_file_that_is_too_large_is_refused(shelf: Shelf, size: int) -> None:
    api = narrow(shelf)
    assert post(api).status_code == 201
    kept = left(api)
    problem_of(post(api, b"x" * size), 422, "lora_too_large")
    assert left(api) == kept


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_what_is_no_form_is_400(api: Api, kind: str) -> None:
    answer = api.client.post("/v1/loras", data=b"nothing", content_type=kind)
    problem_of(answer, 400, "bad_request")


def test_another_sites_form_changes_nothing(api: Api) -> None:
    headers = {"Origin": "https://elsewhere.example"}
    form = FIELDS | {"file": file()}
    answer = api.client.post("/v1/loras", data=form, headers=headers)
    problem_of(answer, 403, "origin_refused")


class Long:
    """A body that is never in memory, of lines that all begin as the last one does."""

    LINE = b"\r\n--"

    def __init__(self, head: bytes, size: int, tail: bytes) -> None:
        self.length = len(head) + size + len(tail)
        self._head, self._left, self._tail = io.BytesIO(head), size, io.BytesIO(tail)

    def read(self, size: int = -1, /) -> bytes:
        if data := self._head.read(size):
            return data
        given = min(size, self._left)
        self._left -= given
        return (self.LINE * (given // 4 + 1))[:given] if given else self._tail.read(size)


def long(size: int) -> Long:
    """A form with a file of this size."""
    fields = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in FIELDS.items()
    )
    named = 'Content-Disposition: form-data; name="file"; filename="a.safetensors"'
    return Long(f"{fields}--x\r\n{named}\r\n\r\n".encode(), size, b"\r\n--x--\r\n")


def test_a_large_file_is_on_the_disk_and_not_in_memory(api: Api) -> None:
    size = 32 << 20
    body = long(size)
    told = {"wsgi.input": body, "CONTENT_LENGTH": str(body.length), "CONTENT_TYPE": KIND}
    tracemalloc.start()
    try:
        answer = api.client.post("/v1/loras", environ_overrides=told)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    problem_of(answer, 422, "lora_invalid_file")
    assert peak < size / 4


@pytest.mark.parametrize(
    ("size", "code"),
    [(300, "lora_invalid_file"), (301, "lora_too_large"), (1 << 20, "lora_too_large")],
)
def test_a_form_whose_length_nobody_tells_is_held_to_the_same(
    shelf: Shelf, size: int, code: str
) -> None:
    told = {"wsgi.input": long(size), "wsgi.input_terminated": True, "CONTENT_TYPE": KIND}
    problem_of(narrow(shelf).client.post("/v1/loras", environ_overrides=told), 422, code)
