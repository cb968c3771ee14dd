"""PEFT's layers beside the base's weights: what is resident, what is active, and the proof."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.token_rack import TokenRack
from lorajobs.engine.unfused import CAPACITY, UnfusedRack
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


def rack_of(engine: DiffusersEngine) -> UnfusedRack:
    """The rack itself."""
    rack = engine._loaded_rack()
    assert isinstance(rack, TokenRack)
    assert isinstance(rack.weights, UnfusedRack)
    return rack.weights


def test_all_weights_of_the_file_sit_in_the_unet(unfused: DiffusersEngine) -> None:
    # diffusers' own loader takes 56 of these 168 tensors, and says nothing of the others.
    unfused.apply([demo("pixel")])
    name = demo("pixel").use.adapter.sha256
    there = {
        key.replace(f".{name}.", "."): value
        for key, value in unfused._pipe.unet.state_dict().items()
        if f".{name}." in key
    }
    expected = factors("pixel")
    assert there.keys() == expected.keys()
    assert all((there[key] == value.float()).all() for key, value in expected.items())


def test_applying_the_same_set_again_touches_nothing(unfused: DiffusersEngine) -> None:
    one, other = demo("pixel", 0.5), demo("lineart", 0.9)
    unfused.apply([one, other])
    module = unfused._pipe.unet.get_submodule(UNET_MODULE)
    # Another scale by hand shows whether it is set once more.
    module.scaling[one.use.adapter.sha256] = 7.0
    unfused.apply([other, one])
    assert module.scaling[one.use.adapter.sha256] == 7.0
    unfused.apply([])
    unfused.apply([other, one])
    assert module.scaling[one.use.adapter.sha256] == 0.5


def test_only_so_many_stay_resident(
    unfused: DiffusersEngine, tmp_path: Path, weights: Fingerprint
) -> None:
    before, bare = weights(unfused), pixels(unfused)
    many = []
    for seed in range(CAPACITY + 3):
        state = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE, seed=seed))
        state |= prefixed("text_encoder.", pair(TEXT_MODULE, TEXT_SHAPE, seed=seed))
        many.append(local(saved(tmp_path / f"{seed}.safetensors", state)))
    first = pixels(unfused, many[0])
    for adapter in many:
        unfused.apply([adapter])
    resident = unfused._pipe.get_list_adapters()
    assert {name: len(held) for name, held in resident.items()} == {
        "unet": CAPACITY,
        "text_encoder": CAPACITY,
    }
    assert pixels(unfused, many[0]) == first != bare
    assert pixels(unfused) == bare
    assert weights(unfused) == before


SABOTAGE: dict[str, Callable[[Any, str], object]] = {
    "another scale": lambda module, name: module.scaling.update({name: 2.0}),
    "not active": lambda module, name: module.set_adapter([]),
    "switched off": lambda module, name: module.enable_adapters(False),
    "deleted": lambda module, name: module.lora_A.pop(name),
    "merged": lambda module, name: module.merge(),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_the_proof_notices_one_module_that_does_not_take_part(
    unfused: DiffusersEngine, tmp_path: Path, weights: Fingerprint, name: str
) -> None:
    before = weights(unfused)
    path = saved(tmp_path / f"{name}.st", prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE)))
    adapter = local(path)
    unfused.apply([adapter])
    rack = rack_of(unfused)
    rack._verify()
    module = unfused._pipe.unet.get_submodule(UNET_MODULE)
    weight = module.base_layer.weight.clone()
    SABOTAGE[name](module, adapter.use.adapter.sha256)
    with pytest.raises(LoraNotApplied, match=re.escape(UNET_MODULE)):
        rack._verify()
    rack._unload_all()
    unfused._pipe.unet.get_submodule(UNET_MODULE).weight.data.copy_(weight)
    assert weights(unfused) == before


def test_what_was_left_active_is_noticed(unfused: DiffusersEngine) -> None:
    unfused.apply([demo("pixel")])
    unfused.apply([])
    unfused._pipe.unet.get_submodule(UNET_MODULE).enable_adapters(True)
    with pytest.raises(LoraNotApplied, match=re.escape(UNET_MODULE)):
        rack_of(unfused)._verify()
