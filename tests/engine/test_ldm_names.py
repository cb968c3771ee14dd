"""Stability's names of a UNet, against what diffusers makes of a whole checkpoint with them."""

from collections.abc import Iterator

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from lorajobs.adapters.keys import own_name
from lorajobs.engine.lora_names import Module, Names
from tests.engine.full_size import reader

RESNET = ("in_layers.2", "emb_layers.1", "out_layers.3", "skip_connection")
ATTENTION = (
    "proj_in",
    "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.0.attn2.to_out.0",
    "transformer_blocks.0.ff.net.0.proj",
    "proj_out",
)
#: Blocks of either side, and whether each has an attention and what changes the size after it.
SIDES = {
    "sd15": (
        ("a", "a", "op", "a", "a", "op", "a", "a", "op", "", ""),
        ("", "", "1", "a", "a", "a2", "a", "a", "a2", "a", "a", "a"),
    ),
    "sdxl": (
        ("", "", "op", "a", "a", "op", "a", "a"),
        ("a", "a", "a2", "a", "a", "a2", "", "", ""),
    ),
}
SIDES["sd2"] = SIDES["sd15"]


def modules(family: str) -> Iterator[str]:
    """The modules that the original has, dotted."""
    down, up = SIDES[family]
    yield from ("input_blocks.0.0", "time_embed.0", "time_embed.2", "out.2")
    for number, block in enumerate(down, 1):
        if block == "op":
            yield f"input_blocks.{number}.0.op"
        else:
            yield from _block(f"input_blocks.{number}", block)
    yield from (f"middle_block.{n}.{part}" for n in (0, 2) for part in RESNET[:3])
    yield from (f"middle_block.1.{part}" for part in ATTENTION)
    for number, block in enumerate(up):
        yield from _block(f"output_blocks.{number}", block)
        if block[-1:].isdigit():
            yield f"output_blocks.{number}.{block[-1]}.conv"


def _block(root: str, kind: str) -> Iterator[str]:
    yield from (f"{root}.0.{part}" for part in RESNET)
    if "a" in kind:
        yield from (f"{root}.1.{part}" for part in ATTENTION)


@pytest.mark.parametrize("family", SIDES)
def test_each_is_where_a_checkpoint_has_it(family: str) -> None:
    of_family = reader(family, 10)
    names = list(modules(family))
    root = "model.diffusion_model."
    numbers = {f"{root}{name}.weight": torch.tensor(n) for n, name in enumerate(names)}
    # It wants these whatever it is given.
    biases = {f"{root}{name}.bias": torch.tensor(-1) for name in names if name.endswith("conv")}
    config = dict(of_family._names._pipe.unet.config) | {"addition_embed_type": None}
    converted = convert_ldm_unet_checkpoint(numbers | biases, config)
    expected = {
        names[int(value)]: name.removesuffix(".weight")
        for name, value in converted.items()
        if value is not None and value >= 0
    }
    assert expected.keys() == set(names)
    targets = of_family.targets["unet"]
    known = {name: path for name, path in expected.items() if path in targets}
    assert len(known) > 100
    found = of_family._names.spots(
        Module(f"lora_unet_{own_name(name)}", f"{name}.weight", 4) for name in known
    )
    assert {name: found[f"lora_unet_{own_name(name)}"][0].path for name in known} == known


@pytest.mark.parametrize(
    "name",
    [
        "output_blocks_2_2_conv",
        "output_blocks_12_0_in_layers_2",
        "input_blocks_3_1_op",
        "input_blocks_10_1_proj_in",
        "input_blocks_1_0_norm",
        "middle_block_3_in_layers_2",
        "middle_block_1_0_proj_in",
        "input_blocks_1_7_proj_in",
        "input_blocks_1",
    ],
)
def test_what_the_original_does_not_have_has_no_place(name: str) -> None:
    names: Names = reader("sd15", 10)._names
    assert names.spots([Module(f"lora_unet_{name}", f"lora_unet_{name}.alpha", 4)]) == {}
