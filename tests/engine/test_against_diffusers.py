"""For every format that diffusers loads, our latents are diffusers' own."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from lorajobs.catalog import ModelEntry
from lorajobs.engine.lora_weights import Reader
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from tests.engine import corpus, native
from tests.engine.adapters import local, saved
from tests.engine.corpus import Recipe
from tests.engine.tiny import FAMILIES, save

#: What of the corpus diffusers 0.42 loads whole, and the part of the names that it does so with.
#: Of text encoders it drops DoRA's magnitudes, and of Kohya's the attentions if MLPs come too; of
#: Kohya's Flux layers outside the blocks the weights or the alphas.
DENOISER = ("peft", "old diffusers", "diffusers with its header", "convolution, lora")
LOADED: dict[str, tuple[tuple[str, str], ...]] = {
    "sd15": (
        *((name, "") for name in DENOISER),
        ("attention processors", ""),
        ("kohya lora", "lora_unet_"),
        ("kohya lora", "_mlp_"),
        ("dora of peft", "unet."),
    ),
    "sdxl": (
        ("peft", ""),
        ("diffusers with its header", ""),
        ("kohya lora", "lora_unet_"),
        ("dora of peft", "unet."),
        ("sgm", ""),
    ),
    "sd3": (("peft", ""), ("diffusers with its header", ""), ("dora of peft", "transformer.")),
    "flux": (
        ("peft", ""),
        ("diffusers with its header", ""),
        ("dora of peft", "transformer."),
        ("flux of kohya", "_blocks_"),
        ("xlabs", ""),
    ),
}
CASES = [(family, name, part) for family, cases in LOADED.items() for name, part in cases]
#: What PEFT says of every second adapter.
pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
STEPS = 3


class Pair(NamedTuple):
    """One base twice: with our engine, and as diffusers loads it."""

    ours: DiffusersEngine
    theirs: DiffusionPipeline
    recipes: dict[str, Recipe]


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    family = request.param
    folder = save(family, tmp_path_factory.mktemp(family))
    engine = DiffusersEngine(ModelEntry(id=family, path=folder), Settings(device="cpu"))
    engine.load()
    index = DiffusionPipeline.load_config(folder)
    without = {name: None for name, part in index.items() if part == [None, None]}
    theirs = type(engine._pipe).from_pretrained(folder, local_files_only=True, **without)
    theirs.set_progress_bar_config(disable=True)
    targets = Reader(theirs).targets
    made = [*corpus.files(family, targets), *native.files(family, targets)]
    return Pair(engine, theirs, {recipe.name: recipe for recipe in made})


def latents(pipe: DiffusionPipeline, prompt: str = "a red heart") -> Tensor:
    """What a pipeline denoises, before its decoder."""
    images: Tensor = pipe(
        prompt=prompt,
        width=64,
        height=64,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    return images


def theirs_with(pair: Pair, adapters: Sequence[tuple[Path, float]]) -> Tensor:
    """The same through diffusers' own loading."""
    names = [f"adapter{number}" for number in range(len(adapters))]
    try:
        for name, (path, _) in zip(names, adapters, strict=True):
            pair.theirs.load_lora_weights(str(path), adapter_name=name)
        pair.theirs.set_adapters(names, [scale for _, scale in adapters])
        return latents(pair.theirs)
    finally:
        pair.theirs.unload_lora_weights()


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


def written(pair: Pair, family: str, name: str, folder: Path, part: str = "") -> Path:
    """A file of the corpus, or what of it has the part in its names."""
    file = pair.recipes[f"{family}: {name}"].make()
    # Random pictures need strong adapters to differ.
    strong = {
        key: value * 3 if key.endswith(("lora_B.weight", "up.weight")) else value
        for key, value in file.tensors.items()
        if part in key
    }
    folder.mkdir(exist_ok=True)
    return saved(folder / f"{family}.safetensors", strong, dict(file.metadata or {}) or None)


@pytest.mark.parametrize(("pair", "name", "part"), CASES, indirect=["pair"])
def test_our_latents_are_theirs(
    pair: Pair, name: str, part: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    family = request.node.callspec.params["pair"]
    path = written(pair, family, name, tmp_path, part)
    expected = theirs_with(pair, [(path, -0.6)])
    pair.ours.apply([local(path, -0.6)])
    assert distance(latents(pair.ours._pipe), expected) <= 1e-5
    pair.ours.apply([])
    bare = latents(pair.theirs)
    assert torch.equal(latents(pair.ours._pipe), bare)
    assert distance(expected, bare) > 3e-4


@pytest.mark.parametrize("pair", FAMILIES, indirect=True)
def test_several_at_their_own_scales(
    pair: Pair, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    family = request.node.callspec.params["pair"]
    one = written(pair, family, "peft", tmp_path)
    other = written(pair, family, "diffusers with its header", tmp_path / "other")
    expected = theirs_with(pair, [(one, 0.8), (other, -0.3)])
    pair.ours.apply([local(one, 0.8), local(other, -0.3)])
    assert distance(latents(pair.ours._pipe), expected) <= 1e-5
