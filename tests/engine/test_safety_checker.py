"""Diffusers' safety checker, by itself and as a part of a base: real models, tiny."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from PIL.Image import Image as Picture

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import Generation
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.safety_checker import MODEL, PROCESSOR
from lorajobs.errors import BaseLoadFailed, ConfigError
from lorajobs.moderation import image_checker
from lorajobs.screening import screened
from lorajobs.settings import Settings
from tests.engine import safety, tiny
from tests.jobs import a_spec
from tests.services.hub import Repo, hub

PROCESSOR_FILE = "preprocessor_config.json"
RED, BLUE = (Image.new("RGB", (96, 64), colour) for colour in ("red", "blue"))


def settings(folder: Path) -> Settings:
    return Settings(image_checker="diffusers", safety_checker=str(folder), device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checker for which red is a concept and blue is not."""
    return safety.save(tmp_path_factory.mktemp("checker"), RED, BLUE)


def test_it_flags_what_is_close_to_a_concept_and_leaves_the_pictures_as_they_are(
    folder: Path,
) -> None:
    checker = image_checker(settings(folder))
    assert checker is not None
    pictures = [BLUE.copy(), RED.copy(), BLUE.resize((33, 70))]
    flags = checker.check(pictures)
    assert [flag.nsfw for flag in flags] == [False, True, False]
    assert [bool(flag.reason) for flag in flags] == [False, True, False]
    assert [picture.getpixel((5, 5)) for picture in pictures[:2]] == [(0, 0, 255), (255, 0, 0)]


def test_a_picture_more_or_less_changes_no_flag(folder: Path) -> None:
    checker = image_checker(settings(folder))
    assert checker is not None
    alone = [checker.check([picture])[0].nsfw for picture in (RED, BLUE)]
    assert alone == [True, False]
    assert [flag.nsfw for flag in checker.check([RED, RED, BLUE, RED])] == [True, True, False, True]


def test_it_is_found_within_a_whole_base(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / MODEL)
    (tmp_path / PROCESSOR).mkdir()
    shutil.move(tmp_path / MODEL / PROCESSOR_FILE, tmp_path / PROCESSOR)
    checker = image_checker(settings(tmp_path))
    assert checker is not None
    assert [flag.nsfw for flag in checker.check([RED, BLUE])] == [True, False]


def test_of_a_base_on_the_hub_only_the_checker_is_fetched(folder: Path, tmp_path: Path) -> None:
    index = {MODEL: ["stable_diffusion", "X"], PROCESSOR: ["transformers", "X"], "unet": ["d", "X"]}
    files = {
        "model_index.json": json.dumps(index).encode(),
        f"{MODEL}/config.json": (folder / "config.json").read_bytes(),
        f"{MODEL}/model.safetensors": (folder / "model.safetensors").read_bytes(),
        f"{PROCESSOR}/preprocessor_config.json": (folder / PROCESSOR_FILE).read_bytes(),
        "unet/config.json": b"{}",
        "unet/model.safetensors": b"large",
    }
    with hub() as server:
        server.add("me/base", Repo(), files)
        asked = {"safety_checker": "me/base", "hf_endpoint": server.url, "hf_cache": tmp_path}
        checker = image_checker(settings(folder).model_copy(update=asked))
        fetched = "".join(request.path for request in server.requests)
    assert checker is not None
    assert [flag.nsfw for flag in checker.check([RED, BLUE])] == [True, False]
    assert f"{MODEL}/config.json" in fetched
    assert "unet" not in fetched


def test_a_folder_without_a_checker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^LORAJOBS_SAFETY_CHECKER: .*model\.safetensors"):
        image_checker(settings(tmp_path))


def test_a_base_with_its_own_checker_loses_only_the_flagged_picture(tmp_path: Path) -> None:
    bare = tiny.save("sd15", tmp_path / "bare")
    plain = _made(bare)
    assert [picture.nsfw for picture in plain.pictures] == [None, None]
    images = [picture.image for picture in plain.pictures]
    whole = _with_checker(bare, tmp_path / "whole", images)
    made = screened(_made(whole).pictures, None)
    assert [picture.nsfw for picture in made.pictures] == [False, True]
    assert [warning.code for warning in made.warnings] == ["picture_withheld"]
    assert made.warnings[0].detail.startswith("picture 1 is withheld: the base's own")
    assert made.pictures[0].image.tobytes() == images[0].tobytes()


def _made(base: Path) -> Generation:
    engine = DiffusersEngine(ModelEntry(id="sd15", path=base), Settings(device="cpu"))
    engine.load()
    spec = a_spec(num_images=2, num_inference_steps=1, width=64, height=64)
    return engine.generate(spec, lambda step: None)


def _with_checker(bare: Path, folder: Path, images: Sequence[Picture]) -> Path:
    """The same base with a checker for which the second picture is a concept."""
    import diffusers

    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        bare,
        safety_checker=safety.checker(images[1], images[0]),
        feature_extractor=safety.processor(),
        requires_safety_checker=True,
    )
    pipe.save_pretrained(folder)
    return folder


def test_the_setting_must_name_something_that_can_be_had(tmp_path: Path) -> None:
    gone = Settings(
        image_checker="diffusers",
        safety_checker="nobody/nothing",
        hf_endpoint="http://127.0.0.1:9",
        hf_cache=tmp_path,
    )
    with pytest.raises(ConfigError, match="nobody/nothing") as raised:
        image_checker(gone)
    assert isinstance(raised.value.__cause__, BaseLoadFailed)
