"""Files that cannot do what they claim are refused, and the base is exact after each."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

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
    kohya,
    local,
    pair,
    pixels,
    prefixed,
    saved,
)
from tests.lora_files import DEMO_LORAS

State = dict[str, Tensor]
GOOD = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE))
DOWN, UP = f"unet.{UNET_MODULE}.lora_A.weight", f"unet.{UNET_MODULE}.lora_B.weight"


def changed(key: str, change: Callable[[Tensor], Tensor]) -> State:
    """The good adapter with one tensor replaced."""
    return GOOD | {key: change(GOOD[key])}


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    """Puts one bad value into a tensor."""

    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[3] = value
        return tensor

    return change


SD3_BLOCK = "transformer_blocks.0.attn"
STATES: dict[str, tuple[State, str]] = {
    "nan": (changed(UP, with_value(float("nan"))), "not finite.*attn1.to_q"),
    "infinite": (changed(DOWN, with_value(float("inf"))), "not finite"),
    "too large for the precision": (changed(DOWN, lambda t: t.double() * 1e300), "not finite"),
    "zero": ({k: t * 0 for k, t in GOOD.items()}, "zero"),
    "other width": (changed(DOWN, lambda t: t[:, :96]), r"\(4, 96\).*\(160, 160\)"),
    "other height": (changed(UP, lambda t: t[:96]), "do not fit"),
    "ranks differ": (changed(UP, lambda t: t[:, :2]), "do not fit"),
    "rank 0": ({DOWN: GOOD[DOWN][:0], UP: GOOD[UP][:, :0]}, "do not fit"),
    "convolution for a linear": (changed(DOWN, lambda t: t[..., None, None]), "do not fit"),
    "one factor": ({DOWN: GOOD[DOWN]}, "only one of its two factors"),
    "nothing of a lora": ({"unet.conv_in.weight": torch.ones(3)}, "conv_in.weight"),
    "one key too many": (GOOD | {"unet.nowhere.lora_A.weight": GOOD[DOWN]}, "1 of its 3.*nowhere"),
    "bias": (GOOD | {UP.replace("weight", "bias"): torch.ones(160)}, "lora_B.bias"),
    "dora of peft": (
        GOOD | {f"unet.{UNET_MODULE}.lora_magnitude_vector": torch.ones(160)},
        "lora_magnitude_vector",
    ),
    "dora of kohya": (
        kohya("pixel", 16) | {"lora_unet_mid_block_x.dora_scale": torch.ones(1)},
        "DoRA",
    ),
    "sd3": (prefixed("transformer.", pair(f"{SD3_BLOCK}.to_q", (64, 64))), "fit no module"),
    "flux": (
        prefixed("transformer.single_", pair(f"{SD3_BLOCK}.to_q", (64, 64))),
        "2 of its 2 tensors fit no module",
    ),
    "sdxl's second text encoder": (
        GOOD | prefixed("text_encoder_2.", pair(TEXT_MODULE, TEXT_SHAPE)),
        "2 of its 4 .*text_encoder_2",
    ),
    "flux of kohya": (
        {
            "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": torch.ones(4, 8),
            "lora_unet_double_blocks_0_img_attn_proj.lora_up.weight": torch.ones(8, 4),
        },
        "double",
    ),
    "loha": ({"lora_unet_mid_block_x.hada_w1_a": torch.ones(4, 4)}, "can convert"),
    "kohya without an up": (
        {k: v for k, v in kohya("pixel", 16).items() if "lora_up" not in k},
        "can convert",
    ),
    "kohya with an unending alpha": (kohya("pixel", float("inf")), "alpha is inf"),
    "inside an adapted module": (
        prefixed("unet.", pair(f"{UNET_MODULE}.base_layer", UNET_SHAPE)),
        "base_layer",
    ),
}

CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "other method": ({"peft_type": "LOHA"}, "peft_type"),
    "dora": ({"peft_type": "LORA", "use_dora": True}, "use_dora"),
    "changes the base": ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
    "other rank": ({"r": 8, "lora_alpha": 8}, "rank 8"),
    "expression": ({"r": 4, "alpha_pattern": {"(.*)*x": 2}}, "not a name"),
    "no number": ({"r": 4, "lora_alpha": "many"}, "lora_alpha"),
}


@pytest.fixture(scope="module")
def bare(engine: DiffusersEngine) -> bytes:
    """What the base alone draws."""
    return pixels(engine)


@pytest.fixture
def refused(engine: DiffusersEngine, bare: bytes) -> Callable[[LocalAdapter, str], None]:
    """Asserts that an adapter is refused, alone and beside a good one, and leaves no trace."""

    def check(adapter: LocalAdapter, reason: str) -> None:
        for asked in ([adapter], [demo("pixel"), adapter]):
            engine.apply([demo("lineart")])
            with pytest.raises(LoraNotApplied, match=reason) as caught:
                engine.apply(asked)
            assert adapter.use.adapter.id in caught.value.detail
            assert engine.applied() == ()
        assert pixels(engine) == bare

    return check


@pytest.mark.parametrize("name", STATES)
def test_weights(name: str, refused: Callable[[LocalAdapter, str], None], tmp_path: Path) -> None:
    state, reason = STATES[name]
    refused(local(saved(tmp_path / "bad.safetensors", state)), reason)


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration(
    name: str, refused: Callable[[LocalAdapter, str], None], tmp_path: Path
) -> None:
    config, reason = CONFIGS[name]
    refused(local(saved(tmp_path / "bad.safetensors", GOOD), peft=config), reason)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not weights at all", id="garbage"),
        pytest.param((DEMO_LORAS / "pixel.safetensors").read_bytes()[:-1000], id="truncated"),
    ],
)
def test_files(data: bytes, refused: Callable[[LocalAdapter, str], None], tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    refused(local(path), "cannot be read")


def test_at_most_five_keys_are_named(engine: DiffusersEngine, tmp_path: Path) -> None:
    state = {f"unet.nowhere.{n}.lora_A.weight": GOOD[DOWN] for n in range(9)}
    with pytest.raises(LoraNotApplied) as caught:
        engine.apply([local(saved(tmp_path / "bad.safetensors", state))])
    assert caught.value.detail.count("nowhere") == 5


def test_part_of_an_adapter_is_a_whole_one(engine: DiffusersEngine, tmp_path: Path) -> None:
    # What matters is that all of the file is used, not that all of the base is changed.
    part = {k: v for k, v in factors("pixel").items() if k.startswith("down_blocks.0.")}
    some = pixels(engine, local(saved(tmp_path / "part.safetensors", prefixed("unet.", part))))
    assert some not in (pixels(engine), pixels(engine, demo("pixel")))
