"""Adapters on the real base: each does what it was trained to do, and leaves nothing behind."""

import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.graphs import Graphs
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import LoraNotApplied, OutOfMemory
from lorajobs.jobs import AppliedLora
from tests.engine.adapters import demo, pixels
from tests.engine.conftest import Fingerprint
from tests.jobs import a_spec
from tests.unit.engine.test_graphs import CPU, Doubler, TapeRecorder, step

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


@pytest.fixture(params=["engine", "unfused"])
def either(request: pytest.FixtureRequest) -> DiffusersEngine:
    """The base whose weights are written, and the one with PEFT's layers beside them."""
    found: DiffusersEngine = request.getfixturevalue(request.param)
    return found


def test_two_together_differ_from_each_alone(either: DiffusersEngine) -> None:
    pixel, lineart = demo("pixel", 0.7), demo("lineart", 0.7)
    both = pixels(either, pixel, lineart)
    assert len({both, pixels(either, pixel), pixels(either, lineart), pixels(either)}) == 4
    assert pixels(either, lineart, pixel) == both


def test_scale_matters_and_may_be_negative_or_zero(either: DiffusersEngine) -> None:
    scales = (-1.0, -0.3, 0.3, 1.0, 2.0)
    pictures = {pixels(either, demo("soft3d", scale)) for scale in scales}
    assert len(pictures) == len(scales)
    assert pixels(either, demo("soft3d", 0.0)) == pixels(either)


def test_reports_what_it_applied(either: DiffusersEngine) -> None:
    asked = [demo("pixel", 0.5), demo("lineart", -2.0)]
    applied = either.apply(asked)
    assert applied == either.applied()
    assert [(a.id, a.sha256, a.scale) for a in applied] == [
        (a.use.adapter.id, a.use.adapter.sha256, a.use.scale) for a in asked
    ]
    either.apply([])
    assert either.applied() == ()


def test_the_base_is_exact_after_any_sequence(
    either: DiffusersEngine, weights: Fingerprint
) -> None:
    before, bare = weights(either), pixels(either)
    chance = random.Random(7)
    for _ in range(12):
        chosen = chance.sample(STYLES, chance.randint(0, 3))
        either.apply([demo(style, chance.uniform(-5, 5)) for style in chosen])
    assert pixels(either) == bare
    assert weights(either) == before


def test_a_picture_does_not_depend_on_what_was_on_before(either: DiffusersEngine) -> None:
    first = pixels(either, demo("pixel", 0.8))
    pixels(either, demo("lineart"), demo("soft3d"))
    assert pixels(either, demo("pixel", 0.8)) == first


def test_preloading_activates_nothing(either: DiffusersEngine) -> None:
    bare = pixels(either)
    either.preload([demo(style, 3.0) for style in STYLES])
    assert either.applied() == ()
    assert pixels(either) == bare
    alone = pixels(either, demo("pixel"))
    either.preload([demo("soft3d")])
    assert [a.id for a in either.applied()] == ["pixel"]
    assert pixels(either, demo("pixel")) == alone


def test_the_same_adapter_twice_is_refused(either: DiffusersEngine) -> None:
    with pytest.raises(LoraNotApplied, match="asked for twice"):
        either.apply([demo("pixel", 0.5), demo("pixel", 0.7)])
    assert either.applied() == ()


@pytest.mark.parametrize("recorded", [1, 0])
def test_adapters_that_find_no_memory_get_that_of_recorded_steps(
    engine: DiffusersEngine, monkeypatch: pytest.MonkeyPatch, recorded: int
) -> None:
    styled = pixels(engine, demo("soft3d"))
    pixels(engine)
    graphs = Graphs(Doubler(), TapeRecorder(), CPU, 1 << 30)
    for _ in range(recorded):
        step(graphs)
    activate, tries = engine._loaded_rack().activate, []

    def short(adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        tries.append(adapters)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return activate(adapters)

    monkeypatch.setattr(engine, "_graphs", graphs)
    monkeypatch.setattr(engine._rack, "activate", short)
    if recorded:
        assert [use.id for use in engine.apply([demo("soft3d")])] == ["soft3d"]
        assert graphs.count == 0
    else:
        with pytest.raises(OutOfMemory):
            engine.apply([demo("soft3d")])
        assert engine.applied() == ()
    monkeypatch.undo()
    assert len(tries) == recorded + 1
    assert pixels(engine, demo("soft3d")) == styled
