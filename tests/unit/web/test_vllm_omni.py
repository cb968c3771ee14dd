"""vLLM-Omni's chat completions, asked by a plain client; `test_foreign_clients.py` has the real."""

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from PIL import Image
from werkzeug.test import TestResponse

from lorajobs.jobs import Job
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "A piece of cheesecake"}]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def api(shop: Shelf) -> PaintedApi:
    return PaintedApi(shop)


def ask(api: PaintedApi, **fields: Any) -> TestResponse:
    return api.client.post(PATH, json={"messages": MESSAGES, **fields})


def pictures_in(answer: TestResponse) -> Sequence[Image.Image]:
    """Those of the completion, which is checked for all that every one has."""
    assert answer.status_code == 200, answer.text
    document = answer.get_json()
    assert document["object"] == "chat.completion"
    assert document["id"] == f"chatcmpl-{answer.headers['X-Job-Id']}"
    (choice,) = document["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert choice["message"]["role"] == "assistant"
    found = []
    for part in choice["message"]["content"]:
        assert part["type"] == "image_url"
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/png;base64"
        found.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return found


def job_of(api: PaintedApi, answer: TestResponse) -> Job:
    return api.store.get(answer.headers["X-Job-Id"])


def error_of(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.content_type) == (status, "application/json"), answer.text
    document: dict[str, Any] = answer.get_json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert document["error"]["code"] == code
    return dict(document["error"])


def test_a_message_becomes_a_picture(api: PaintedApi) -> None:
    answer = ask(api)
    (picture,) = pictures_in(answer)
    assert picture.size == (128, 96)
    spec = job_of(api, answer).spec
    assert (spec.model, spec.prompt) == ("demo", "A piece of cheesecake")
    assert answer.get_json()["model"] == "demo"
    assert answer.get_json()["lora_requests"] == []
    assert answer.headers["X-Should-Retry"] == "false"
    assert api.seats.taken == 0


#: Fields of theirs, and what they are with us.
FIELDS: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
    ({"height": 64, "width": 96}, {"height": 64, "width": 96}),
    ({"size": "96x64"}, {"height": 64, "width": 96}),
    ({"num_inference_steps": 3}, {"num_inference_steps": 3}),
    ({"guidance_scale": 2.5}, {"guidance_scale": 2.5}),
    ({"true_cfg_scale": 2.5}, {"guidance_scale": 2.5}),
    ({"seed": 42}, {"seed": 42}),
    ({"negative_prompt": "blur"}, {"negative_prompt": "blur"}),
    ({"num_outputs_per_prompt": 2}, {"num_images": 2}),
    ({"scheduler": "EulerDiscreteScheduler"}, {"scheduler": "EulerDiscreteScheduler"}),
]


@pytest.mark.parametrize(("theirs", "ours"), FIELDS, ids=[",".join(f) for f, _ in FIELDS])
def test_a_field_becomes_ours(
    api: PaintedApi, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> None:
    answer = ask(api, **theirs)
    spec = job_of(api, answer).spec.model_dump()
    assert {name: spec[name] for name in ours} == ours
    assert len(pictures_in(answer)) == spec["num_images"]


@pytest.mark.parametrize("place", ["extra_body", "sampling_params"])
def test_a_field_counts_wherever_it_stands(api: PaintedApi, place: str) -> None:
    theirs = {"size": "96x64", "num_inference_steps": 3, "true_cfg_scale": 2.5, "seed": 42}
    spec = job_of(api, ask(api, **{place: theirs})).spec
    assert (spec.width, spec.height, spec.num_inference_steps) == (96, 64, 3)
    assert (spec.guidance_scale, spec.seed) == (2.5, 42)


@pytest.mark.parametrize(
    ("body", "param", "other"),
    [
        ({"seed": 1, "extra_body": {"seed": 1}}, "extra_body.seed", "seed"),
        ({"n": 1, "num_outputs_per_prompt": 1}, "n", "num_outputs_per_prompt"),
        ({"size": "96x64", "sampling_params": {"width": 96}}, "sampling_params.width", "size"),
        ({"guidance_scale": 1, "true_cfg_scale": 1}, "true_cfg_scale", "guidance_scale"),
        ({"lora": {"name": "line"}, "lora_request": {"name": "pixel"}}, "lora_request", "lora"),
    ],
)
def test_nothing_is_said_twice(
    api: PaintedApi, body: dict[str, Any], param: str, other: str
) -> None:
    answer = ask(api, **body)
    error = error_of(answer, 400, "validation")
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"] == f"{param}: says the same as `{other}`; give one of them"
    assert "X-Job-Id" not in answer.headers


def test_texts_are_joined(api: PaintedApi) -> None:
    content = [{"type": "text", "text": "a red"}, {"type": "text", "text": "heart"}]
    messages = [{"role": "user", "content": content}, {"role": "user", "content": "in snow"}]
    answer = ask(api, messages=messages)
    assert job_of(api, answer).spec.prompt == "a red heart in snow"


@pytest.mark.parametrize(
    ("place", "field"),
    [(None, "lora_request"), ("extra_body", "lora"), ("sampling_params", "lora_request")],
)
@pytest.mark.parametrize(
    "lora",
    [
        {"name": "mine", "path": "line", "scale": 0.5, "id": 7},
        {"name": "mine", "local_path": "line", "scale": 0.5, "int_id": 7},
        {"lora_name": "mine", "lora_path": "line", "lora_scale": 0.5, "lora_int_id": 7},
        {"adapter": "mine", "lora_local_path": "line", "scale": 0.5, "id": 7},
    ],
)
def test_an_adapter_is_applied_however_it_is_spelled(
    api: PaintedApi, lora: dict[str, Any], field: str, place: str | None
) -> None:
    asked = {field: lora}
    answer = ask(api, seed=1, **({place: asked} if place else asked))
    bare = ask(api, seed=1)
    assert pictures_in(answer)[0].tobytes() != pictures_in(bare)[0].tobytes()
    (applied,) = job_of(api, answer).applied_loras
    assert (applied.id, applied.scale) == ("line", 0.5)
    (told,) = answer.get_json()["lora_requests"]
    own = {"name": "mine", "id": 7, "path": "line", "scale": 0.5, "sha256": applied.sha256}
    assert told == own


def test_several_adapters_and_a_file_of_the_server(api: PaintedApi, shop: Shelf) -> None:
    path = shop.file("own")
    answer = ask(api, lora_request=[{"path": path, "scale": 0.7}, {"name": "pixel"}])
    applied = job_of(api, answer).applied_loras
    assert [(one.id, one.scale) for one in applied] == [(path, 0.7), ("pixel", 0.8)]
    first, second = answer.get_json()["lora_requests"]
    assert (first["name"], second["name"]) == ("own.safetensors", "pixel")


def test_an_adapter_as_the_model_is_told_too(api: PaintedApi) -> None:
    answer = ask(api, model="pixel", extra_body={"loras": [{"id": "line", "scale": 0.4}]})
    told = [(one["name"], one["scale"]) for one in answer.get_json()["lora_requests"]]
    assert told == [("pixel", 0.8), ("line", 0.4)]


def test_the_id_of_a_path_is_the_same_each_time(api: PaintedApi) -> None:
    ids = [
        [one["id"] for one in ask(api, lora_request=lora).get_json()["lora_requests"]]
        for lora in ({"path": "line"}, {"path": "line", "name": "x"}, {"path": "pixel"})
    ]
    digest = hashlib.sha256(b"line").digest()[:8]
    assert ids[0] == ids[1] == [int.from_bytes(digest, "big") % (2**53 - 1) + 1]
    assert ids[2] != ids[0]


@pytest.mark.parametrize(
    ("lora", "code", "said"),
    [
        ({"path": "pixl"}, "lora_not_found", "lora_request.path: no adapter is registered as"),
        ({"path": "far"}, "lora_base_mismatch", "lora_request: far was made for third"),
        ({"path": "/etc/lora"}, "path_not_allowed", "lora_request.path: "),
        ({"scale": 1.0}, "validation", "lora_request: give the adapter's `path`, or a reg"),
        ({"path": "line", "lora_path": "line"}, "validation", "lora_request: give only one of"),
        ({"path": "line", "scale": 6}, "validation", "lora_request.scale: give a number from"),
        ({"path": "line", "id": "7"}, "validation", "lora_request.id: give an integer from 1"),
        ({"path": "line", "rank": 7}, "validation", "lora_request.rank: unknown field; "),
        ("line", "validation", "lora_request: give an object"),
        ([{"path": "line"}, "pixel"], "validation", "lora_request.1: give an object"),
        (
            [{"path": "line"}, {"name": "line"}],
            "validation",
            "lora_request.1: is the same adapter as ",
        ),
        (
            [{"path": "line", "id": 1}, {"path": "pixel", "id": 1}],
            "validation",
            'lora_request.1: the id 1 is that of "line" too; leave it out',
        ),
    ],
)
def test_an_adapter_that_cannot_be_applied_makes_no_picture(
    api: PaintedApi, lora: object, code: str, said: str
) -> None:
    answer = ask(api, lora_request=lora)
    error = error_of(answer, 400, code)
    assert error["message"].startswith(said)
    assert error["param"].startswith("lora_request")
    assert "X-Job-Id" not in answer.headers


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": []}, "messages: give an array of 1 to 64"),
        ({"messages": [{"role": "system", "content": "x"}]}, 'messages.0.role: give `user`, not "'),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: give a text, or an"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0: give",
        ),
        (
            {"messages": [{"role": "user", "content": "x" * 10_001}]},
            "messages: give a string of at most 10,000",
        ),
        ({"temperature": 0.7}, "temperature: unknown field"),
        ({"extra_body": {"steps": 3}}, "extra_body.steps: unknown field"),
        ({"sampling_params": {"width": 100}}, "sampling_params.width: give a multiple of 32"),
        ({"size": "huge"}, "size: give a text such as `1024x1024`"),
        ({"size": "100x96"}, "size: give a multiple of 32"),
        ({"lora": [{"name": "pixel"}] * 5}, "lora.4: give an array of at most 4"),
        ({"stream": True}, "stream: give `false`: pictures are not streamed"),
        ({"modalities": ["text"]}, "modalities.0: give"),
        ({"n": 5}, "n: give at most 4 for demo"),
    ],
)
def test_what_is_wrong_is_named(api: PaintedApi, body: dict[str, Any], said: str) -> None:
    answer = ask(api, **body)
    error = error_of(answer, 400, "validation")
    assert error["message"].startswith(said)
    assert error["param"] == said.partition(":")[0]
    # It is told once.
    assert len(re.findall(r"(?:^|; )[\w.]+: ", error["message"])) == 1
    assert "X-Job-Id" not in answer.headers


def test_other_errors_are_theirs_too(api: PaintedApi, shelf: Shelf) -> None:
    assert error_of(ask(api, model="nix"), 404, "unknown_model")["param"] == "model"
    plain = api.client.post(PATH, data="{}", content_type="text/plain")
    assert error_of(plain, 415, "unsupported_media_type")["type"] == "invalid_request_error"
    failed = [{"role": "user", "content": "a fail:internal"}]
    answer = ask(api, messages=failed)
    assert error_of(answer, 500, "internal")["type"] == "server_error"
    assert answer.headers["X-Should-Retry"] == "false"
    shelf.settings = shelf.settings.model_copy(update={"require_keys": "always"})
    kind = error_of(ask(PaintedApi(shelf)), 401, "key_required")["type"]
    assert kind == "authentication_error"
