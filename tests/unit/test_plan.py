"""From a request to a spec."""

import json
from pathlib import Path
from typing import Any

import pytest

from lorajobs.errors import (
    LoraBaseMismatch,
    LoraNotFound,
    LoraSeveralFiles,
    PathNotAllowed,
    RequestError,
    UnknownModel,
    UrlNotAllowed,
    ValidationFailed,
)
from lorajobs.plan import Plan, plan
from lorajobs.request import JobRequest
from tests.lora_files import fetched
from tests.shelf import Shelf, refuse_private


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def planned(shelf: Shelf, **fields: Any) -> Plan:
    body = {"model": "demo", "prompt": "a red heart"} | fields
    request = JobRequest.parse(json.dumps(body).encode())
    return plan(request, shelf.catalog, shelf.library, refuse_private)


def loras_of(made: Plan) -> list[tuple[str, float]]:
    return [(use.adapter.id, use.scale) for use in made.spec.loras]


def codes_of(made: Plan) -> list[str]:
    return [warning.code for warning in made.warnings]


def refused(error: type[RequestError], shelf: Shelf, **fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(RequestError) as raised:
        planned(shelf, **fields)
    assert type(raised.value) is error
    return [(e.pointer, e.detail) for e in raised.value.errors]


def test_the_models_entry_fills_in_what_the_request_leaves_out(shelf: Shelf) -> None:
    made = planned(shelf)
    spec = made.spec
    assert (spec.model, made.queue) == ("demo", "base.demo")
    assert (spec.width, spec.height, spec.num_inference_steps) == (128, 96, 30)
    assert (spec.guidance_scale, spec.negative_prompt, spec.num_images) == (4.0, "", 1)
    assert spec.scheduler == "DDIMScheduler"
    assert (spec.output.format, spec.output.quality) == ("png", 90)
    assert (spec.loras, spec.webhook, spec.metadata) == ((), None, {})
    assert made.warnings == ()


def test_what_the_request_gives_is_kept(shelf: Shelf) -> None:
    given = {
        "negative_prompt": "blur",
        "width": 64,
        "height": 256,
        "num_inference_steps": 50,
        "guidance_scale": 0,
        "seed": 0,
        "num_images": 4,
        "scheduler": "EulerDiscreteScheduler",
        "output": {"format": "webp", "quality": 50},
        "webhook": {
            "url": "https://receiver.example/hook",
            "events": ["started", "failed"],
            "shape": "prediction",
        },
        "metadata": {"order": "7"},
    }
    spec = planned(shelf, **given).spec
    assert json.loads(spec.model_dump_json(include=set(given))) == given


def test_a_base_without_schedulers_uses_its_own(shelf: Shelf) -> None:
    assert planned(shelf, model="third").spec.scheduler is None


def test_a_seed_is_drawn_where_none_is_given(shelf: Shelf) -> None:
    seeds = {planned(shelf).spec.seed for _ in range(8)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_an_alias_stands_for_its_model(shelf: Shelf) -> None:
    assert planned(shelf, model="emoji").spec.model == "demo"


SIZE = "give a multiple of 32 from 64 to 256 for demo, not "


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"width": 65}, [("/width", SIZE + "65")]),
        ({"width": 32, "height": 288}, [("/width", SIZE + "32"), ("/height", SIZE + "288")]),
        ({"width": 10**30}, [("/width", SIZE + "so large a number")]),
        ({"height": 100_000}, [("/height", SIZE + "100000")]),
        ({"width": 256, "height": 256}, [("/width", "at most 32,768 pixels (width × height)")]),
        (
            {"num_inference_steps": 51},
            [("/num_inference_steps", "give at most 50 for demo, not 51")],
        ),
        (
            {"guidance_scale": 20.5},
            [("/guidance_scale", "give at most 20.0 for demo, not 20.5")],
        ),
        ({"num_images": 5}, [("/num_images", "give at most 4 for demo, not 5")]),
        (
            {"scheduler": "ddim"},
            [("/scheduler", 'no scheduler "ddim"; known are `DDIMScheduler`, `EulerDiscrete')],
        ),
        ({"model": "third", "scheduler": "X"}, [("/scheduler", "known are none")]),
    ],
)
def test_the_models_limits_hold(
    shelf: Shelf, fields: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    found = refused(ValidationFailed, shelf, **fields)
    assert [pointer for pointer, _ in found] == [pointer for pointer, _ in errors]
    for (_, detail), (_, said) in zip(found, errors, strict=True):
        assert said in detail


def test_an_unknown_model_is_told_the_nearest_first(shelf: Shelf) -> None:
    ((pointer, detail),) = refused(UnknownModel, shelf, model="cuosin")
    assert pointer == "/model"
    assert detail == (
        'no base model or adapter is called "cuosin"; '
        "known are `cousin`, `demo`, `emoji`, `third`, `far`, `line`, `pixel`"
    )


def test_an_adapter_as_model_goes_to_its_base_at_its_own_scale(shelf: Shelf) -> None:
    made = planned(shelf, model="pixel")
    assert made.spec.model == "demo"
    assert loras_of(made) == [("pixel", 0.8)]


def test_an_adapter_as_model_stands_in_front_of_the_others(shelf: Shelf) -> None:
    made = planned(shelf, model="pixel", loras=[{"id": "line", "scale": 0.5}])
    assert loras_of(made) == [("pixel", 0.8), ("line", 0.5)]


@pytest.mark.parametrize("again", ["id", "path"])
def test_an_adapter_as_model_is_not_applied_twice(shelf: Shelf, again: str) -> None:
    lora = {"id": "pixel"} if again == "id" else {"path": str(shelf.root / "pixel.safetensors")}
    made = planned(shelf, model="pixel", loras=[{"id": "line"}, lora | {"scale": 0.4}])
    assert [scale for _, scale in loras_of(made)] == [1.0, 0.4]


def test_an_adapter_as_model_counts_among_the_four(shelf: Shelf) -> None:
    paths = [{"path": shelf.file(f"extra{i}")} for i in range(4)]
    assert len(planned(shelf, model="pixel", loras=paths[:3]).spec.loras) == 4
    assert len(planned(shelf, loras=paths).spec.loras) == 4
    ((pointer, detail),) = refused(ValidationFailed, shelf, model="pixel", loras=paths)
    assert (pointer, detail) == (
        "/loras",
        "give at most 3 adapters besides the one that `model` names",
    )


def test_a_scale_defaults_to_the_adapters_own_then_to_one(shelf: Shelf) -> None:
    path = shelf.file("extra")
    made = planned(shelf, loras=[{"id": "pixel"}, {"id": "line"}, {"path": path}])
    assert loras_of(made) == [("pixel", 0.8), ("line", 1.0), (path, 1.0)]


def test_an_adapter_is_pinned_to_its_bytes(shelf: Shelf) -> None:
    before = planned(shelf, loras=[{"id": "pixel"}]).spec.loras[0].adapter
    (shelf.root / "pixel.safetensors").write_bytes((shelf.root / "line.safetensors").read_bytes())
    after = planned(shelf, loras=[{"id": "pixel"}]).spec.loras[0].adapter
    assert before.sha256 != after.sha256
    assert fetched(shelf.library, before).endswith(b"pixel")


@pytest.mark.parametrize(
    ("scale", "warns"),
    [(0.3, False), (1.5, False), (0.29, True), (1.51, True), (-1.0, True), (0.0, True)],
)
def test_an_unusual_scale_warns(shelf: Shelf, scale: float, warns: bool) -> None:
    made = planned(shelf, loras=[{"id": "line", "scale": scale}])
    assert codes_of(made) == (["lora_scale"] if warns else [])


def test_the_same_adapter_twice_is_refused(shelf: Shelf) -> None:
    path = str(shelf.root / "pixel.safetensors")
    loras = [{"id": "pixel"}, {"id": "line"}, {"path": path}]
    ((pointer, detail),) = refused(ValidationFailed, shelf, loras=loras)
    assert pointer == "/loras/2"
    assert 'the same adapter as "pixel"' in detail


def test_an_unregistered_adapter_is_named_with_the_nearest(shelf: Shelf) -> None:
    ((pointer, detail),) = refused(LoraNotFound, shelf, loras=[{"id": "line"}, {"id": "pixl"}])
    assert pointer == "/loras/1/id"
    assert 'no adapter is registered as "pixl"; known are `pixel`, ' in detail
    assert "`path`" not in detail


@pytest.mark.parametrize("reference", ["hf:owner/name", "/loras/a.safetensors", "s3://b/k"])
def test_a_reference_in_place_of_an_id_is_told_where_it_goes(shelf: Shelf, reference: str) -> None:
    ((pointer, detail),) = refused(LoraNotFound, shelf, loras=[{"id": reference}])
    assert pointer == "/loras/0/id"
    assert f'registered as "{reference}"; a reference goes into `path`; known are' in detail


def test_the_librarys_errors_point_at_the_reference(shelf: Shelf) -> None:
    good, missing = {"id": "line"}, {"path": str(shelf.root / "missing.safetensors")}
    ((pointer, _),) = refused(LoraNotFound, shelf, loras=[good, missing])
    assert pointer == "/loras/1/path"
    ((pointer, detail),) = refused(PathNotAllowed, shelf, loras=[{"path": "/etc/passwd"}])
    assert pointer == "/loras/0/path"
    assert "LORAJOBS_LORA_ROOTS" in detail
    ((pointer, detail),) = refused(ValidationFailed, shelf, loras=[{"path": "pixel"}])
    assert pointer == "/loras/0/path"
    ((pointer, _),) = refused(UrlNotAllowed, shelf, loras=[{"path": "ftp://host/a"}])
    assert pointer == "/loras/0/path"


def test_several_files_point_at_the_missing_weight_name(shelf: Shelf) -> None:
    ((pointer, detail),) = refused(LoraSeveralFiles, shelf, loras=[{"path": str(shelf.root)}])
    assert pointer == "/loras/0/weight_name"
    assert "pixel.safetensors" in detail
    lora = {"path": str(shelf.root), "weight_name": "line.safetensors"}
    (use,) = planned(shelf, loras=[lora]).spec.loras
    assert use.adapter.weight_name == "line.safetensors"


@pytest.mark.parametrize("base", ["demo", "Owner/Demo", "emoji", "/home/me/models/sdxl"])
def test_an_adapter_of_this_base_or_of_none_is_taken(shelf: Shelf, base: str) -> None:
    assert codes_of(planned(shelf, loras=[{"path": shelf.peft("p", base)}])) == []


def test_an_adapter_of_a_related_base_warns(shelf: Shelf) -> None:
    made = planned(shelf, loras=[{"path": shelf.peft("p", "family/Original")}])
    (warning,) = made.warnings
    assert warning.code == "lora_base_name"
    assert "made for family/Original" in warning.detail
    assert codes_of(planned(shelf, model="cousin", loras=[{"id": "line"}])) == ["lora_base_name"]


def test_an_adapter_of_another_base_is_refused(shelf: Shelf) -> None:
    path = shelf.peft("p", "owner/elsewhere")
    ((pointer, detail),) = refused(LoraBaseMismatch, shelf, loras=[{"id": "line"}, {"path": path}])
    assert pointer == "/loras/1"
    assert "made for owner/elsewhere; demo takes adapters of `demo`" in detail
    ((pointer, detail),) = refused(LoraBaseMismatch, shelf, loras=[{"id": "far"}])
    assert pointer == "/loras/0"
    assert "far was made for third" in detail


def test_a_webhook_that_must_not_be_called_is_refused(shelf: Shelf) -> None:
    ((pointer, _),) = refused(UrlNotAllowed, shelf, webhook={"url": "https://private.example"})
    assert pointer == "/webhook/url"


@pytest.mark.parametrize(
    ("output", "codes"),
    [
        ({"quality": 80}, ["quality_unused"]),
        ({"format": "png", "quality": 80}, ["quality_unused"]),
        ({"format": "jpeg", "quality": 80}, []),
        ({"format": "png"}, []),
    ],
)
def test_a_quality_without_effect_warns(
    shelf: Shelf, output: dict[str, Any], codes: list[str]
) -> None:
    assert codes_of(planned(shelf, output=output)) == codes
