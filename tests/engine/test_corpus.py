"""Every valid file is taken, whole, and each weight becomes what its mathematics says."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorajobs.engine.layer import Layer
from tests.engine import corpus, native
from tests.engine.adapters import local, saved
from tests.engine.corpus import Recipe
from tests.engine.full_size import FAMILIES, reader


def all_files() -> Iterator[Recipe]:
    for family in FAMILIES:
        targets = reader(family).targets
        yield from corpus.files(family, targets)
        yield from native.files(family, targets)


FILES = {file.name: file for file in all_files()}


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(FILES) >= 60
    assert min(Counter(file.family for file in FILES.values()).values()) >= 10


@pytest.mark.parametrize("name", FILES)
def test_it_is_taken_and_does_what_it_should(name: str, tmp_path: Path) -> None:
    recipe = FILES[name]
    file = recipe.make()
    path = saved(tmp_path / "it.safetensors", file.tensors, dict(file.metadata or {}) or None)
    peft = dict(file.peft) if file.peft else None
    parts = reader(recipe.family).read(local(path, peft=peft))
    got = {(c, p): layer for c, layers in parts.items() for p, layer in layers.items()}
    assert got.keys() == file.expected.keys()
    for spot, layer in got.items():
        weight = torch.randn(layer.shape, generator=torch.Generator().manual_seed(5)) * 0.03
        expected = file.expected[spot](weight.double())
        assert distance(layer, weight, expected) < 1e-5, spot


def distance(layer: Layer, weight: Tensor, expected: Tensor) -> float:
    """Relative L2 between what a layer adds and what it should."""
    difference = layer.delta_from(weight, 1.0).double() - expected
    return float(difference.norm() / expected.norm())
