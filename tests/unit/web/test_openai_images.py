"""OpenAI's images, asked by its real client in this process; `tests/e2e` has it on a server."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from lorajobs.jobs import Job
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi

Generated = openai.types.ImagesResponse


@pytest.fixture
def api(shelf: Shelf) -> PaintedApi:
    return PaintedApi(shelf)


@contextmanager
def client_of(api: PaintedApi) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(transport=httpx2.WSGITransport(app=api.app))
    url = "http://127.0.0.1/v1"
    with openai.OpenAI(api_key="none", base_url=url, http_client=http) as made:
        yield made


@pytest.fixture
def client(api: PaintedApi) -> Iterator[openai.OpenAI]:
    with client_of(api) as made:
        yield made


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> PaintedApi:
    """One for all that is refused."""
    return PaintedApi(Shelf(tmp_path_factory.mktemp("refusing")))


def generate(client: openai.OpenAI, **fields: Any) -> Generated:
    made: Generated = client.images.generate(**{"prompt": "a red heart", **fields})
    return made


def job_of(api: PaintedApi, response: Generated) -> Job:
    return api.store.get(response.id)  # type: ignore[attr-defined]


def test_pictures_come_as_files(api: PaintedApi, client: openai.OpenAI) -> None:
    response = generate(client, n=2, size="64x128", output_format="jpeg", output_compression=50)
    assert response.data
    for image in response.data:
        assert image.url is None
        with Image.open(io.BytesIO(base64.b64decode(image.b64_json or ""))) as opened:
            assert (opened.size, opened.format) == ((64, 128), "JPEG")
    assert len(response.data) == 2
    assert (response.size, response.output_format) == ("64x128", "jpeg")
    job = job_of(api, response)
    assert response.created == (job.completed_ms or 0) // 1000
    assert (job.spec.model, job.spec.output.quality) == ("demo", 50)


def test_or_as_urls(api: PaintedApi, client: openai.OpenAI) -> None:
    response = generate(client, model="emoji", response_format="url", size="auto")
    assert response.data
    (image,) = response.data
    assert image.b64_json is None
    assert (image.url or "").startswith("https://api.example/files/jobs/")
    assert (job_of(api, response).spec.width, response.size) == (128, "128x96")


@pytest.mark.parametrize(
    ("fields", "uses"),
    [
        ({"model": "pixel"}, [("pixel", 0.8)]),
        ({"extra_body": {"lora": {"name": "pixel"}}}, [("pixel", 0.8)]),
        ({"extra_body": {"lora": {"name": "line", "scale": 0.5}}}, [("line", 0.5)]),
        (
            {"extra_body": {"lora": [{"lora_name": "line"}, {"name": "pixel", "scale": 0.2}]}},
            [("line", 1.0), ("pixel", 0.2)],
        ),
        ({"extra_body": {"loras": [{"id": "line", "scale": 2.0}]}}, [("line", 2.0)]),
    ],
)
def test_adapters_are_applied_and_told(
    api: PaintedApi, client: openai.OpenAI, fields: dict[str, Any], uses: list[tuple[str, float]]
) -> None:
    response = generate(client, **fields)
    applied = response.applied_loras  # type: ignore[attr-defined]
    assert [(lora["id"], lora["scale"]) for lora in applied] == uses
    assert all(len(lora["sha256"]) == 64 for lora in applied)
    spec = job_of(api, response).spec
    assert [(use.adapter.id, use.scale) for use in spec.loras] == uses


def test_what_openai_does_not_have_is_taken_too(api: PaintedApi, client: openai.OpenAI) -> None:
    more = {
        "negative_prompt": "blur",
        "num_inference_steps": 3,
        "guidance_scale": 2.5,
        "seed": 11,
        "scheduler": "EulerDiscreteScheduler",
        "width": 64,
    }
    response = generate(
        client,
        quality="auto",
        background="opaque",
        moderation="auto",
        user="u7",
        extra_body=more | {"safety_identifier": "s8"},
    )
    spec = job_of(api, response).spec
    assert {name: getattr(spec, name) for name in more} == more
    assert spec.metadata == {"user": "u7", "safety_identifier": "s8"}
    assert response.seed == 11  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"size": "100x128"}, "size", "multiple of 32"),
        ({"size": "0x64"}, "size", '`auto` or a size such as "512x768"'),
        ({"size": "large"}, "size", '`auto` or a size such as "512x768"'),
        ({"size": "64x64", "extra_body": {"width": 64}}, None, "give either `size`"),
        ({"n": 9}, "n", "an integer from 1 to 8"),
        ({"n": 5}, "n", "at most 4 for demo"),
        ({"quality": "high"}, "quality", "`num_inference_steps` decides"),
        ({"background": "transparent"}, "background", "`auto` or `opaque`"),
        ({"style": "vivid"}, "style", "unknown field"),
        ({"output_format": "gif"}, "output_format", "`png`, `jpeg` or `webp`"),
        ({"extra_body": {"lora": {"name": "pixie"}}}, "lora.name", "known are `pixel`"),
        ({"extra_body": {"lora": [{"name": "far"}]}}, "lora.0", "was made for third"),
        ({"extra_body": {"lora": {"weight": 1}}}, "lora.weight", "unknown field"),
        ({"extra_body": {"seed": -1}}, "seed", "an integer from 0"),
    ],
)
def test_what_is_wrong_is_told_by_name(
    refusing: PaintedApi, fields: dict[str, Any], param: str | None, told: str
) -> None:
    with client_of(refusing) as client, pytest.raises(openai.BadRequestError) as wrong:
        generate(client, **fields)
    assert wrong.value.param == param
    assert told in wrong.value.message
    assert wrong.value.type == "invalid_request_error"
    assert not refusing.jobs


def test_a_model_that_nobody_knows_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="known are `demo`") as unknown:
        generate(client, model="dall-e-3")
    assert unknown.value.code == "unknown_model"


def test_a_failed_job_is_not_repeated(api: PaintedApi, client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        generate(client, prompt="fail:bad_picture")
    assert failed.value.code == "bad_picture"
    assert len(api.jobs) == 1


def test_nor_is_one_that_goes_on(shelf: Shelf) -> None:
    api = PaintedApi(shelf, settings=shelf.settings.model_copy(update={"sync_wait_s": 0.05}))
    api.painter.works = False
    answer = api.client.post("/v1/images/generations", json={"prompt": "a red heart"})
    assert answer.status_code == 504
    assert answer.get_json()["error"]["code"] == "not_ended_in_time"
    assert answer.headers["X-Should-Retry"] == "false"
    (job,) = api.jobs
    assert answer.headers["X-Job-Id"] == job.id


def test_what_was_not_accepted_may_be_repeated(api: PaintedApi, shelf: Shelf) -> None:
    leaves = [api.seats.take() for _ in range(shelf.settings.api_listeners)]
    answer = api.client.post("/v1/images/generations", json={"prompt": "a red heart"})
    assert (answer.status_code, answer.get_json()["error"]["type"]) == (503, "server_error")
    assert "X-Should-Retry" not in answer.headers
    assert "Retry-After" in answer.headers
    assert not api.jobs
    for leave in leaves:
        leave()


def test_keys_count_here_too(shelf: Shelf) -> None:
    api = PaintedApi(shelf, settings=shelf.settings.model_copy(update={"require_keys": "always"}))
    answer = api.client.post("/v1/images/generations", json={"prompt": "a red heart"})
    assert answer.status_code == 401
    assert answer.get_json()["error"]["type"] == "authentication_error"
