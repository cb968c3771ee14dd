"""What `training/` makes is served: a new adapter, and a base of one's own, each from nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.jobs import AppliedLora
from tests.engine.adapters import local
from tests.jobs import a_spec
from training import autoencoder, base, blueprint, emoji, lora
from training.captioned import Captioned, read, write
from training.demo import pipeline
from training.look import mean_colour

THINGS = ("sun", "moon", "star", "ring", "ball", "egg", "coin", "wheel")


def run(command: click.Command, *words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def drawing(number: int) -> Image.Image:
    """Something round on white."""
    picture = Image.new("RGB", (128, 128), "white")
    colour = (200, 25 * number, 40)
    ImageDraw.Draw(picture).ellipse((20, 20, 60 + 6 * number, 100), fill=colour)
    return picture


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of blueprints with captions."""
    folder = tmp_path_factory.mktemp("blueprints")
    pictures = [blueprint.blueprint(drawing(number)) for number in range(len(THINGS))]
    assert write(folder, map(Captioned, pictures, THINGS)) == len(THINGS)
    return folder


def test_a_folder_is_read_as_it_was_written(style: Path) -> None:
    examples = read(style)
    assert [example.text for example in examples] == list(THINGS)
    assert examples[3].picture.tobytes() == blueprint.blueprint(drawing(3)).tobytes()


def test_what_cannot_be_learned_from_is_refused_in_words(tmp_path: Path) -> None:
    write(tmp_path, [Captioned(drawing(0), "one"), Captioned(drawing(1).resize((64, 64)), "two")])
    done = run(lora.main, tmp_path)
    assert done.exit_code == 1
    assert "of several sizes: [(64, 64), (128, 128)]" in done.output
    write(tmp_path, [Captioned(drawing(0), "one")])
    assert "1 pictures are too few: 8 at least" in run(lora.main, tmp_path).output


def test_a_new_adapter_is_accepted_applied_and_seen(
    engine: DiffusersEngine, style: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new.safetensors"
    done = run(lora.main, style, "--out", file, "--steps", 10, "--batch", 2, "--rate", 6e-3)
    assert done.exit_code == 0, done.output
    assert "held-out loss" in done.output
    alone, _ = painted(engine, [])
    ours, applied = painted(engine, [file])
    assert [(used.modules, used.rank, used.alpha_assumed) for used in applied] == [(84, 16, False)]
    wanted = mean_colour([example.picture for example in read(style)])
    off = [float(np.linalg.norm(mean_colour([made]) - wanted)) for made in (alone, ours)]
    assert off[1] < off[0] / 2
    # And diffusers finds every tensor of it.
    state, _, config = StableDiffusionPipeline.lora_state_dict(file, return_lora_metadata=True)
    assert len(state) == 2 * 84
    assert config["unet.r"] == 16


def painted(
    engine: DiffusersEngine, files: Sequence[Path]
) -> tuple[Image.Image, Sequence[AppliedLora]]:
    applied = engine.apply([local(file) for file in files])
    spec = a_spec(prompt="a ball", num_inference_steps=4)
    return engine.generate(spec, lambda step: None).pictures[0].image, applied


def test_a_style_is_learned_if_what_was_kept_back_gets_better() -> None:
    assert lora.Outcome(before=1.0, after=0.89, seconds=0.0).learned
    assert not lora.Outcome(before=1.0, after=0.91, seconds=0.0).learned


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The npm packages of emoji, with two of our own."""
    folder = tmp_path / "node_modules"
    for name in emoji.SETS.values():
        body = '<circle cx="16" cy="16" r="12" fill="currentColor"/>'
        # Not square, as some are.
        icons = {thing: {"body": body, "height": 40} for thing in THINGS[:2]}
        file = folder / "@iconify-json" / name / "icons.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"icons": icons, "width": 32, "height": 32}))
    data = folder / "emojibase-data" / "en" / "data.json"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps([{"label": "Sun", "tags": ["Bright", "day"]}]))
    return folder


def test_the_recipe_of_the_demo_runs_to_its_end(packages: Path, tmp_path: Path) -> None:
    data, vae, made = tmp_path / "data", tmp_path / "vae", tmp_path / "base"
    styles = [data / "flat", data / "pixel"]
    small = ("--steps", 1, "--batch", 1)
    stages: Sequence[tuple[click.Command, Sequence[object]]] = (
        (emoji.main, (packages, data)),
        (autoencoder.main, (*styles, "--out", vae, "--decoder-steps", 1, *small)),
        (base.main, (data / "flat", "--vae", vae, "--out", made, *small)),
    )
    for command, words in stages:
        done = run(command, *words)
        assert done.exit_code == 0, done.output
    drawings = read(data / "flat")
    assert {one.picture.getpixel((x, 64)) for one in drawings for x in (1, 126)} == {(255,) * 3}
    captions = {example.text: example.tags for example in drawings}
    assert set(captions) == set(THINGS[:2])
    assert captions["sun"] == ("bright", "day")
    pipe = pipeline(made)
    assert pipe.vae.config.scaling_factor != 1.0
    picture = pipe("sun", num_inference_steps=1, height=128, width=128).images[0]
    assert picture.size == (128, 128)
