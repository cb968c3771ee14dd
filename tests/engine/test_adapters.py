"""Adapters on the real base: each does what it was trained to do, and leaves nothing behind."""

import random
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorajobs.engine.adapters import CAPACITY
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import LoraNotApplied
from tests.engine.adapters import (
    TEXT_MODULE,
    TEXT_SHAPE,
    UNET_MODULE,
    UNET_SHAPE,
    demo,
    factors,
    local,
    pair,
    pixels,
    prefixed,
    saved,
)
from tests.engine.conftest import Fingerprint
from tests.jobs import a_spec

STYLES = ("pixel", "soft3d", "lineart")


def look(engine: DiffusersEngine, *adapters: LocalAdapter) -> np.ndarray:
    """A picture of full quality: height, width, RGB in 0…1."""
    engine.apply(adapters)
    spec = a_spec(prompt="a red heart", num_inference_steps=20)
    return _array(engine.generate(spec, lambda step: None).pictures[0].image)


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32) / 255


def within_blocks(picture: np.ndarray) -> float:
    """Mean spread of the values inside blocks of 8 × 8 pixels."""
    blocks = picture.reshape(16, 8, 16, 8, 3)
    return float(blocks.std(axis=(1, 3)).mean())


def colour(picture: np.ndarray) -> float:
    """Mean saturation of the pixels."""
    return float((picture.max(axis=2) - picture.min(axis=2)).mean())


@pytest.fixture(scope="module")
def looks(engine: DiffusersEngine) -> dict[str, np.ndarray]:
    return {"": look(engine)} | {style: look(engine, demo(style)) for style in STYLES}


def test_pixel_is_nearly_constant_within_its_blocks(looks: dict[str, np.ndarray]) -> None:
    assert within_blocks(looks["pixel"]) < within_blocks(looks[""]) / 2


def test_lineart_has_little_colour(looks: dict[str, np.ndarray]) -> None:
    assert colour(looks["lineart"]) < 0.02 < 0.2 < colour(looks[""])


def test_every_look_differs_from_every_other(looks: dict[str, np.ndarray]) -> None:
    for one, other in combinations(looks, 2):
        assert np.abs(looks[one] - looks[other]).mean() > 0.01, (one, other)


def test_all_weights_of_the_file_sit_in_the_unet(engine: DiffusersEngine) -> None:
    # diffusers' own loader takes 56 of these 168 tensors, and says nothing of the others.
    engine.apply([demo("pixel")])
    name = demo("pixel").use.adapter.sha256
    there = {
        key.replace(f".{name}.", "."): value
        for key, value in engine._pipe.unet.state_dict().items()
        if f".{name}." in key
    }
    expected = factors("pixel")
    assert there.keys() == expected.keys()
    assert all((there[key] == value.float()).all() for key, value in expected.items())


def test_two_together_differ_from_each_alone(engine: DiffusersEngine) -> None:
    pixel, lineart = demo("pixel", 0.7), demo("lineart", 0.7)
    both = pixels(engine, pixel, lineart)
    assert len({both, pixels(engine, pixel), pixels(engine, lineart), pixels(engine)}) == 4
    assert pixels(engine, lineart, pixel) == both


def test_scale_matters_and_may_be_negative_or_zero(engine: DiffusersEngine) -> None:
    scales = (-1.0, -0.3, 0.3, 1.0, 2.0)
    pictures = {pixels(engine, demo("soft3d", scale)) for scale in scales}
    assert len(pictures) == len(scales)
    assert pixels(engine, demo("soft3d", 0.0)) == pixels(engine)


def test_reports_what_it_applied(engine: DiffusersEngine) -> None:
    asked = [demo("pixel", 0.5), demo("lineart", -2.0)]
    applied = engine.apply(asked)
    assert applied == engine.applied()
    assert [(a.id, a.sha256, a.scale) for a in applied] == [
        (a.use.adapter.id, a.use.adapter.sha256, a.use.scale) for a in asked
    ]
    engine.apply([])
    assert engine.applied() == ()


def test_the_base_is_exact_after_any_sequence(
    engine: DiffusersEngine, weights: Fingerprint
) -> None:
    before, bare = weights(), pixels(engine)
    chance = random.Random(7)
    for _ in range(12):
        chosen = chance.sample(STYLES, chance.randint(0, 3))
        engine.apply([demo(style, chance.uniform(-5, 5)) for style in chosen])
    assert pixels(engine) == bare
    assert weights() == before


def test_a_picture_does_not_depend_on_what_was_on_before(engine: DiffusersEngine) -> None:
    first = pixels(engine, demo("pixel", 0.8))
    pixels(engine, demo("lineart"), demo("soft3d"))
    assert pixels(engine, demo("pixel", 0.8)) == first


def test_applying_the_same_set_again_touches_nothing(engine: DiffusersEngine) -> None:
    one, other = demo("pixel", 0.5), demo("lineart", 0.9)
    engine.apply([one, other])
    module = engine._pipe.unet.get_submodule(UNET_MODULE)
    # Another scale by hand shows whether it is set once more.
    module.scaling[one.use.adapter.sha256] = 7.0
    engine.apply([other, one])
    assert module.scaling[one.use.adapter.sha256] == 7.0
    engine.apply([])
    engine.apply([other, one])
    assert module.scaling[one.use.adapter.sha256] == 0.5


def test_preloading_activates_nothing(engine: DiffusersEngine) -> None:
    bare = pixels(engine)
    engine.preload([demo(style, 3.0) for style in STYLES])
    assert engine.applied() == ()
    assert pixels(engine) == bare
    alone = pixels(engine, demo("pixel"))
    engine.preload([demo("soft3d")])
    assert [a.id for a in engine.applied()] == ["pixel"]
    assert pixels(engine, demo("pixel")) == alone


def test_the_same_adapter_twice_is_refused(engine: DiffusersEngine) -> None:
    with pytest.raises(LoraNotApplied, match="asked for twice"):
        engine.apply([demo("pixel", 0.5), demo("pixel", 0.7)])
    assert engine.applied() == ()


def test_only_so_many_stay_resident(
    engine: DiffusersEngine, tmp_path: Path, weights: Fingerprint
) -> None:
    before, bare = weights(), pixels(engine)
    many = []
    for seed in range(CAPACITY + 3):
        state = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE, seed=seed))
        state |= prefixed("text_encoder.", pair(TEXT_MODULE, TEXT_SHAPE, seed=seed))
        many.append(local(saved(tmp_path / f"{seed}.safetensors", state)))
    first = pixels(engine, many[0])
    for adapter in many:
        engine.apply([adapter])
    resident = engine._pipe.get_list_adapters()
    assert {name: len(held) for name, held in resident.items()} == {
        "unet": CAPACITY,
        "text_encoder": CAPACITY,
    }
    assert pixels(engine, many[0]) == first != bare
    assert pixels(engine) == bare
    assert weights() == before


SABOTAGE: dict[str, Callable[[Any, str], object]] = {
    "another scale": lambda module, name: module.scaling.update({name: 2.0}),
    "not active": lambda module, name: module.set_adapter([]),
    "switched off": lambda module, name: module.enable_adapters(False),
    "deleted": lambda module, name: module.lora_A.pop(name),
    "merged": lambda module, name: module.merge(),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_the_proof_notices_one_module_that_does_not_take_part(
    engine: DiffusersEngine, tmp_path: Path, weights: Fingerprint, name: str
) -> None:
    before = weights()
    path = saved(tmp_path / f"{name}.st", prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE)))
    adapter = local(path)
    engine.apply([adapter])
    rack = engine._loaded_rack()
    rack._verify()
    module = engine._pipe.unet.get_submodule(UNET_MODULE)
    weight = module.base_layer.weight.clone()
    SABOTAGE[name](module, adapter.use.adapter.sha256)
    with pytest.raises(LoraNotApplied, match=re.escape(UNET_MODULE)):
        rack._verify()
    rack._unload_all()
    engine._pipe.unet.get_submodule(UNET_MODULE).weight.data.copy_(weight)
    assert weights() == before


def test_what_was_left_active_is_noticed(engine: DiffusersEngine) -> None:
    engine.apply([demo("pixel")])
    engine.apply([])
    engine._pipe.unet.get_submodule(UNET_MODULE).enable_adapters(True)
    with pytest.raises(LoraNotApplied, match=re.escape(UNET_MODULE)):
        engine._loaded_rack()._verify()
