"""Every valid file is taken, whole, and each weight becomes what its mathematics says."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorajobs.engine.layer import Layer, LowRank
from tests.engine import corpus, native
from tests.engine.adapters import local, saved
from tests.engine.corpus import File, Recipe, Spot
from tests.engine.full_size import FAMILIES, reader

#: The mathematics is looked at on narrow bases, the names on those of the real size.
NARROW = 10


def recipes(share: int) -> Iterator[Recipe]:
    for family in FAMILIES:
        targets = reader(family, share).targets
        yield from corpus.files(family, targets)
        yield from native.files(family, targets)


FILES = {recipe.name: recipe for recipe in recipes(NARROW)}
#: Kinds that are small whatever the width of the weight is.
FULL_SIZE = {
    recipe.name: recipe
    for recipe in recipes(1)
    if not any(kind in recipe.name for kind in ("full", "lokr", "lycoris", "torch."))
}


def read(recipe: Recipe, share: int, folder: Path) -> tuple[File, dict[Spot, Layer]]:
    """A file, and what the engine reads in it."""
    file = recipe.make()
    path = saved(folder / "it.safetensors", file.tensors, dict(file.metadata or {}) or None)
    peft = dict(file.peft) if file.peft else None
    parts = reader(recipe.family, share).read(local(path, peft=peft))
    return file, {(c, p): layer for c, layers in parts.items() for p, layer in layers.items()}


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(FILES) >= 180
    assert min(Counter(recipe.family for recipe in FILES.values()).values()) >= 20


@pytest.mark.parametrize("name", FILES)
def test_it_is_taken_and_does_what_it_should(name: str, tmp_path: Path) -> None:
    file, got = read(FILES[name], NARROW, tmp_path)
    assert got.keys() == file.expected.keys()
    for spot, layer in got.items():
        weight = torch.randn(layer.shape, generator=torch.Generator().manual_seed(5)) * 0.03
        expected = file.expected[spot](weight.double())
        assert distance(layer, weight, expected) < 1e-5, spot


@pytest.mark.parametrize("name", FULL_SIZE)
def test_it_is_taken_at_its_real_size(name: str, tmp_path: Path) -> None:
    file, got = read(FULL_SIZE[name], 1, tmp_path)
    assert got.keys() == file.expected.keys()


def test_rows_of_different_sizes_come_out_of_one_module(tmp_path: Path) -> None:
    file, got = read(FULL_SIZE["flux: linear1"], 1, tmp_path)
    (up,) = (value for name, value in file.tensors.items() if name.endswith("lora_up.weight"))
    ups = [layer.up for layer in got.values() if isinstance(layer, LowRank)]
    assert [len(part) for part in ups] == [3072, 3072, 3072, 12288]
    assert torch.equal(torch.cat(ups), up)


def distance(layer: Layer, weight: Tensor, expected: Tensor) -> float:
    """Relative L2 between what a layer adds and what it should."""
    difference = layer.delta_from(weight, 1.0).double() - expected
    return float(difference.norm() / expected.norm())
