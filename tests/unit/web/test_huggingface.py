"""Hugging Face's inference API, asked by a plain client; `test_foreign_clients.py` has the real."""

import io
from typing import Any

import pytest
from PIL import Image
from werkzeug.test import TestResponse

from lorajobs.api_keys import Scope, create
from lorajobs.jobs import Job
from lorajobs.pictures import read_text
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi

JSON = "application/json"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> PaintedApi:
    return PaintedApi(Shelf(tmp_path_factory.mktemp("shelf")))


def ask(api: PaintedApi, body: Any = None, path: str = "/", **headers: str) -> TestResponse:
    asked = {"inputs": "an elephant"} if body is None else body
    return api.client.post(path, json=asked, headers=headers)


def error_of(answer: TestResponse, status: int, kind: str) -> str:
    """The error's text."""
    assert (answer.status_code, answer.content_type) == (status, JSON), answer.text
    document = answer.get_json()
    assert set(document) - {"estimated_time"} == {"error", "error_type"}
    assert ("estimated_time" in document) == (status == 503)
    assert document["error_type"] == kind
    return str(document["error"])


def size_of(answer: TestResponse) -> tuple[int, int]:
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.data)) as image:
        return image.size


def job_of(api: PaintedApi, answer: TestResponse) -> Job:
    return api.store.get(answer.headers["X-Job-Id"])


@pytest.mark.parametrize(
    "content_type", [JSON, "application/x-www-form-urlencoded", "text/plain", "", "x"]
)
def test_a_prompt_becomes_a_picture_whatever_it_says_that_it_is(
    api: PaintedApi, content_type: str
) -> None:
    raw = b'{"inputs": "elephant", "parameters": {"num_inference_steps": 20}}'
    answer = api.client.post("/", data=raw, content_type=content_type)
    assert size_of(answer) == (128, 96)
    assert answer.content_type == "image/jpeg"
    job = job_of(api, answer)
    assert (job.spec.model, job.spec.prompt, job.spec.num_inference_steps) == (
        "demo",
        "elephant",
        20,
    )
    assert api.seats.taken == 0


@pytest.mark.parametrize(
    ("accept", "made"),
    [
        ("image/png", "image/png"),
        ("image/webp", "image/webp"),
        ("image/jpeg", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("text/html, image/webp;q=0.5, image/png;q=0.9", "image/png"),
    ],
)
def test_accept_picks_the_format(api: PaintedApi, accept: str, made: str) -> None:
    answer = ask(api, Accept=accept)
    assert (answer.status_code, answer.content_type) == (200, made)
    with Image.open(io.BytesIO(answer.data)) as image:
        assert Image.MIME[str(image.format)] == made


def test_a_format_that_there_is_not_is_no_picture(api: PaintedApi) -> None:
    answer = ask(api, Accept="application/json")
    assert "image/png" in error_of(answer, 406, "bad_request")
    assert "X-Job-Id" not in answer.headers


def test_every_parameter_reaches_the_job(api: PaintedApi) -> None:
    parameters = {
        "negative_prompt": "blur",
        "height": 64,
        "width": 96,
        "num_inference_steps": 3,
        "guidance_scale": 2.5,
        "scheduler": "EulerDiscreteScheduler",
        "seed": 5,
        "loras": [{"id": "line", "scale": 0.5}],
    }
    answer = ask(api, {"inputs": "a cat", "parameters": parameters}, Accept="image/png")
    assert size_of(answer) == (96, 64)
    job = job_of(api, answer)
    told = job.spec.model_dump()
    del parameters["loras"]
    assert {name: told[name] for name in parameters} == parameters
    assert [(one.id, one.scale) for one in job.applied_loras] == [("line", 0.5)]
    assert read_text(answer.data)["prompt"] == "a cat"


@pytest.mark.parametrize("path", ["/models/demo", "/models/emoji", "/models/owner/demo"])
def test_a_base_goes_by_each_of_its_names(api: PaintedApi, path: str) -> None:
    assert size_of(ask(api, path=path)) == (128, 96)


def test_an_adapter_is_a_model_too(api: PaintedApi) -> None:
    answer = ask(api, path="/models/pixel")
    assert size_of(answer) == (128, 96)
    assert [(one.id, one.scale) for one in job_of(api, answer).applied_loras] == [("pixel", 0.8)]


def test_the_header_applies_an_adapter(api: PaintedApi) -> None:
    body = {"inputs": "p", "parameters": {"seed": 1}}
    bare, styled, again = ask(api, body), ask(api, body, lora="pixel"), ask(api, body)
    assert size_of(bare) == size_of(styled)
    assert read_text(bare.data) == read_text(again.data) != read_text(styled.data)
    assert [one.id for one in job_of(api, styled).applied_loras] == ["pixel"]
    assert not job_of(api, bare).applied_loras


def test_an_adapter_that_cannot_be_applied_makes_no_picture(shelf: Shelf) -> None:
    api = PaintedApi(shelf)
    assert error_of(ask(api, lora="pixl"), 422, "lora_not_found").startswith(
        'lora: no adapter is registered as "pixl"; known are `pixel`'
    )
    assert "lora: far was made for third" in error_of(
        ask(api, lora="far"), 422, "lora_base_mismatch"
    )
    said = error_of(ask(api, lora="s3://bucket/key.safetensors"), 422, "url_not_allowed")
    assert said.startswith("lora: ")
    assert error_of(ask(api, lora=" "), 422, "validation").startswith("lora: give a registered")
    assert not api.jobs


def test_the_header_names_one_adapter(api: PaintedApi) -> None:
    # What becomes of two headers on a server.
    answer = ask(api, {"inputs": "p"}, lora="pixel,line")
    told = "lora: give one adapter, and the others in `parameters.loras`"
    assert error_of(answer, 422, "validation") == told


def test_header_and_parameters_name_one_adapter_once(api: PaintedApi) -> None:
    parameters = {"loras": [{"id": "line"}, {"id": "pixel"}]}
    said = error_of(
        ask(api, {"inputs": "p", "parameters": parameters}, lora="pixel"), 422, "validation"
    )
    assert said.startswith("parameters.loras.1: is the same adapter as ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "inputs: is missing; give the prompt"),
        ({"inputs": 3}, "inputs: give the prompt"),
        ({"inputs": "x" * 10_001}, "inputs: give a string of at most 10,000 characters"),
        ({"inputs": "p", "options": {}}, "options: unknown field; known are `inputs`, `param"),
        ({"inputs": "p", "parameters": 3}, "parameters: give an object of `negative_prompt`"),
        (
            {"inputs": "p", "parameters": {"num_steps": 3}},
            "parameters.num_steps: unknown field; did you mean `num_inference_steps`?",
        ),
        ({"inputs": "p", "parameters": {"num_images": 2}}, "parameters.num_images: unknown field"),
        ({"inputs": "p", "parameters": {"width": "3"}}, "parameters.width: give a positive"),
        ({"inputs": "p", "parameters": {"width": 100}}, "parameters.width: give a multiple of 32"),
        (
            {"inputs": "p", "parameters": {"width": 100, "height": 3}},
            "parameters.width: give a multiple of 32 from 64 to 256 for demo, not 100; "
            "parameters.height: give a multiple",
        ),
        ({"inputs": "p", "parameters": {"scheduler": "DDIM"}}, "parameters.scheduler: demo has no"),
        ({"inputs": "p", "parameters": {"loras": [{}]}}, "parameters.loras.0: give either `id`"),
    ],
)
def test_what_is_wrong_is_named(api: PaintedApi, body: dict[str, Any], said: str) -> None:
    answer = ask(api, body)
    assert error_of(answer, 422, "validation").startswith(said)
    assert "X-Job-Id" not in answer.headers


def test_what_is_no_json_is_told_so(api: PaintedApi) -> None:
    answer = api.client.post("/", data="inputs=elephant")
    assert "not JSON" in error_of(answer, 400, "malformed_body")
    assert "extra" in error_of(
        api.client.post("/?extra=1", json={"inputs": "p"}), 422, "validation"
    )


def test_a_body_is_cut_at_its_cap(shelf: Shelf) -> None:
    shelf.settings = shelf.settings.model_copy(update={"max_body_bytes": 100})
    answer = ask(PaintedApi(shelf), {"inputs": "x" * 100})
    assert "100 bytes" in error_of(answer, 413, "body_too_large")


def test_an_unknown_model_is_not_found(api: PaintedApi) -> None:
    said = error_of(ask(api, path="/models/minimaxir/nix"), 404, "unknown_model")
    assert said.startswith('model: no base model or adapter is called "minimaxir/nix"; known are')


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [("a fail:internal", 500, "internal"), ("a fail:bad_picture", 500, "bad_picture")],
)
def test_a_job_that_fails_says_why(api: PaintedApi, prompt: str, status: int, code: str) -> None:
    answer = ask(api, {"inputs": prompt})
    assert "the prompt asked for" in error_of(answer, status, code)
    assert job_of(api, answer).spec.prompt == prompt


def test_a_job_that_takes_too_long_goes_on(shelf: Shelf) -> None:
    shelf.settings = shelf.settings.model_copy(update={"sync_wait_s": 0.01})
    api = PaintedApi(shelf)
    api.painter.works = False
    answer = ask(api)
    (job,) = api.jobs
    said = error_of(answer, 504, "not_ended_in_time")
    assert f"job {job.id} goes on" in said
    assert f"GET https://api.example/v1/jobs/{job.id}" in said
    assert answer.headers["X-Job-Id"] == job.id
    assert api.seats.taken == 0


def test_who_asks_again_with_the_same_key_gets_the_same_picture(shelf: Shelf) -> None:
    hasty = shelf.settings.model_copy(update={"sync_wait_s": 0.01})
    api = PaintedApi(shelf, settings=hasty)
    api.painter.works = False
    once: dict[str, Any] = {"Idempotency-Key": "order-7"}
    error_of(ask(api, **once), 504, "not_ended_in_time")
    api.painter.works = True
    answer = ask(api, **once)
    assert size_of(answer) == (128, 96)
    (job,) = api.jobs
    assert answer.headers["X-Job-Id"] == job.id
    other = ask(api, {"inputs": "another"}, **once)
    error_of(other, 422, "idempotency_mismatch")


def test_nothing_is_submitted_where_nobody_may_wait(shelf: Shelf) -> None:
    shelf.settings = shelf.settings.model_copy(update={"api_listeners": 1})
    api = PaintedApi(shelf)
    leave = api.seats.take()
    answer = ask(api)
    error_of(answer, 503, "too_many_listeners")
    assert answer.headers["Retry-After"] == "2"
    assert answer.get_json()["estimated_time"] == 2.0
    assert not api.jobs
    leave()


def test_a_canceled_job_has_no_picture(shelf: Shelf) -> None:
    api = PaintedApi(shelf)

    class Canceling:
        def events(self, job_id: str, after: str, block_s: float) -> object:
            api.store.cancel(job_id)
            return api.store.events(job_id, after, block_s)

    api.painter.events = Canceling().events  # type: ignore[method-assign,assignment]
    assert "was canceled" in error_of(ask(api), 410, "canceled_meanwhile")


def test_keys_count_here_as_everywhere(shelf: Shelf) -> None:
    shelf.settings = shelf.settings.model_copy(update={"require_keys": "always"})
    api = PaintedApi(shelf)
    error_of(ask(api, Authorization="Bearer none"), 401, "key_required")
    _, reader = create(api.keys, "reader", [Scope.READ])
    error_of(ask(api, Authorization=f"Bearer {reader}"), 403, "scope_missing")
    error_of(ask(api, Authorization="Bearer none"), 401, "key_invalid")
    _, secret = create(api.keys, "writer", [Scope.SUBMIT], rate=1)
    shown: dict[str, Any] = {"Authorization": f"Bearer {secret}"}
    assert size_of(ask(api, **shown)) == (128, 96)
    limited = ask(api, **shown)
    error_of(limited, 429, "rate_limited")
    assert int(limited.headers["Retry-After"]) >= 1


def test_a_key_that_means_nothing_is_no_error_where_none_was_ever_made(shelf: Shelf) -> None:
    local = {"require_keys": "auto", "public_url": None}
    api = PaintedApi(shelf, settings=shelf.settings.model_copy(update=local))
    here: dict[str, Any] = {"Host": "0.0.0.0:8888"}
    assert size_of(ask(api, Authorization="Bearer none", **here)) == (128, 96)
    error_of(ask(api, Origin="https://evil.example", **here), 403, "origin_refused")
    error_of(ask(api, Host="evil.example"), 403, "host_refused")


def test_the_front_page_stays_free(api: PaintedApi) -> None:
    assert api.client.get("/").mimetype == "text/html"
    assert api.client.put("/").status_code == 405
    assert api.client.get("/models/demo").status_code == 405
