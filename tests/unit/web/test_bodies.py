"""Whatever a body holds: an answer, never a fault, on every surface that takes one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lorajobs.request import JobRequest, Recipe
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST
from tests.unit.web.painted import PaintedApi
from tests.unit.web.test_openai_edits import index_of
from web.huggingface import TextToImage
from web.openai_images import ImagesRequest
from web.replicate_shapes import PredictionInput, VersionPrediction
from web.vllm_omni import ChatRequest, Sampling
from web.vllm_omni_loras import LoraObject

#: Names of fields, of any depth. References with a network behind them are the library's own
#: suite's business.
NAMES = sorted(
    {"id", "path", "url", "format", "quality", "role", "content", "type", "text", "a"}
    | {*LoraObject.model_fields, *PredictionInput.model_fields, *Sampling.model_fields}
)
TEXTS = ["demo", "pixel", "s3://b/k", "../x", "/etc/passwd", "\0", "user", "64x64", "auto", "png"]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_characters="/:"), max_size=20)
    | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=8,
)


class Surface(NamedTuple):
    """What a page takes."""

    model: type[BaseModel]
    right: Mapping[str, Any]
    #: a field with further ones in it
    nest: str = ""
    nested: type[BaseModel] = Recipe


MESSAGES = [{"role": "user", "content": "p"}]
SURFACES: Mapping[str, Surface] = {
    "/v1/jobs": Surface(JobRequest, REQUEST),
    "/": Surface(TextToImage, {"inputs": "p"}, "parameters"),
    "/v1/images/generations": Surface(ImagesRequest, {"prompt": "p"}, "lora", LoraObject),
    "/v1/chat/completions": Surface(ChatRequest, {"messages": MESSAGES}, "extra_body", Sampling),
    "/v1/predictions": Surface(VersionPrediction, {"version": "demo"}, "input", PredictionInput),
}
#: What an answer may be; a submit is 200 to 202.
ANSWERS: Sequence[int] = (200, 201, 202, 400, 404, 422)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> PaintedApi:
    shelf = Shelf(tmp_path_factory.mktemp("bodies"))
    hub = shelf.folder / "hub"
    index_of("demo", hub)
    shelf.settings = shelf.settings.model_copy(update={"hf_cache": hub})
    return PaintedApi(shelf)


def fields_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of its fields, with anything in them."""
    return st.dictionaries(st.sampled_from(sorted(model.model_fields)), JSON_VALUES, max_size=2)


@pytest.mark.parametrize("path", SURFACES)
@settings(max_examples=settings().max_examples // 2)
@given(data=st.data(), valid=st.booleans())
def test_no_body_breaks_a_surface(
    api: PaintedApi, path: str, data: st.DataObject, valid: bool
) -> None:
    surface = SURFACES[path]
    body = data.draw(fields_of(surface.model))
    if surface.nest and valid:
        right = {"prompt": "p"} if surface.nested is PredictionInput else {}
        body[surface.nest] = right | data.draw(fields_of(surface.nested))
    answer = api.client.post(path, json={**surface.right, **body} if valid else body)
    assert answer.status_code in ANSWERS, answer.text


@pytest.mark.parametrize("path", SURFACES)
@settings(max_examples=settings().max_examples // 4)
@given(raw=st.binary(max_size=200) | st.text(max_size=50).map(lambda t: json.dumps(t).encode()))
def test_no_bytes_break_a_surface(api: PaintedApi, path: str, raw: bytes) -> None:
    answer = api.client.post(path, data=raw, content_type="application/json")
    assert answer.status_code in ANSWERS, answer.text
