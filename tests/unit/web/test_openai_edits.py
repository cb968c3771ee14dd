"""OpenAI's edits, asked by its real client in this process."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from lorajobs.jobs import Job
from tests.images import encoded
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi

PNG = encoded()
COMMIT = "c" * 40


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> PaintedApi:
    folder = tmp_path_factory.mktemp("edits")
    shelf = Shelf(folder)
    hub = folder / "hub"
    index_of("demo", hub)
    shelf.settings = shelf.settings.model_copy(update={"hf_cache": hub, "image_max_bytes": 100_000})
    return PaintedApi(shelf)


def index_of(base: str, hub: Path) -> None:
    """Puts what tells the kind of a base's pipeline into the hub's cache."""
    repo = hub / f"models--owner--{base}"
    index = repo / "snapshots" / COMMIT / "model_index.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)


@pytest.fixture
def client(api: PaintedApi) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(transport=httpx2.WSGITransport(app=api.app))
    url = "http://127.0.0.1/v1"
    with openai.OpenAI(api_key="none", base_url=url, http_client=http) as made:
        yield made


def edited(client: openai.OpenAI, **fields: Any) -> openai.types.ImagesResponse:
    made: openai.types.ImagesResponse = client.images.edit(
        **{"image": ("a.png", PNG, "image/png"), "prompt": "a red heart", **fields}
    )
    return made


def job_of(api: PaintedApi, response: openai.types.ImagesResponse) -> Job:
    return api.store.get(response.id)  # type: ignore[attr-defined]


def test_a_picture_is_the_start(api: PaintedApi, client: openai.OpenAI) -> None:
    more = {
        "strength": 0.5,
        "num_inference_steps": 20,
        "seed": 3,
        "lora": {"name": "pixel", "scale": 0.4},
    }
    response = edited(client, n=2, model="demo", size="64x64", user="7", extra_body=more)
    assert response.data
    assert len(response.data) == 2
    with Image.open(io.BytesIO(base64.b64decode(response.data[0].b64_json or ""))) as image:
        assert image.size == (64, 64)
    spec = job_of(api, response).spec
    assert spec.image
    assert (spec.strength, spec.image.steps, spec.seed) == (0.5, 10, 3)
    assert [(use.adapter.id, use.scale) for use in spec.loras] == [("pixel", 0.4)]
    # A text stays one, even of digits.
    assert spec.metadata == {"user": "7"}
    alone = job_of(api, edited(client, image=[("a.png", PNG, "image/png")])).spec.image
    assert alone
    assert alone.sha256 == spec.image.sha256


@pytest.mark.parametrize(
    ("fields", "param", "told"),
    [
        ({"mask": ("m.png", PNG, "image/png")}, "mask", "give one picture as `image`"),
        ({"image": [("a.png", PNG), ("b.png", PNG)]}, "image", "one picture as a file, not 2"),
        ({"n": 9}, "n", "an integer from 1 to 8"),
        ({"input_fidelity": "high"}, "input_fidelity", "unknown field"),
        ({"extra_body": {"strength": 2}}, "strength", "above 0 and at most 1"),
        ({"extra_body": {"lora": {"name": "pixie"}}}, "lora.name", "known are `pixel`"),
        ({"image": ("a.png", b"GIF89a")}, "image", "PNG, JPEG or WebP"),
        ({"extra_body": {"image": "https://pictures.example/a.png"}}, "image", "as a file"),
    ],
)
def test_what_is_wrong_is_told_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str | None, told: str
) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        edited(client, **fields)
    assert wrong.value.param == param
    assert told in wrong.value.message


def test_a_large_picture_is_refused_unread(api: PaintedApi, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as large:
        edited(client, image=("a.png", b"x" * 200_000))
    assert large.value.code == "image_too_large"


def test_nothing_but_a_form_is_taken(api: PaintedApi) -> None:
    answer = api.client.post("/v1/images/edits", json={"prompt": "a red heart"})
    assert answer.status_code == 415
    assert answer.get_json()["error"]["code"] == "unsupported_media_type"
