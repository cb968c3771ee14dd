"""The same adapter in other formats does the same; its strength is honoured in each."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorajobs.engine.pipeline import DiffusersEngine
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

OTHER_MODULE = "mid_block.attentions.0.transformer_blocks.0.attn2.to_q"
TWO = pair(UNET_MODULE, UNET_SHAPE) | pair(OTHER_MODULE, UNET_SHAPE, rank=2)


@pytest.mark.parametrize("name", ["pixel", "soft3d"])
def test_kohya(engine: DiffusersEngine, tmp_path: Path, name: str) -> None:
    full = local(saved(tmp_path / "full.safetensors", kohya(name, alpha=16)))
    half = local(saved(tmp_path / "half.safetensors", kohya(name, alpha=8)))
    assert pixels(engine, full) == pixels(engine, demo(name))
    assert pixels(engine, half) == pixels(engine, demo(name, 0.5))


def test_kohya_with_an_alpha_per_module(engine: DiffusersEngine, tmp_path: Path) -> None:
    state: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for module, alpha in ((UNET_MODULE, 4.0), (OTHER_MODULE, 1.0)):
        down, up = pair(module, UNET_SHAPE).values()
        called = "lora_unet_" + module.replace(".", "_")
        state[f"{called}.lora_down.weight"] = down
        state[f"{called}.lora_up.weight"] = up
        state[f"{called}.alpha"] = torch.tensor(alpha)
        expected[f"unet.{module}.lora_A.weight"] = down
        expected[f"unet.{module}.lora_B.weight"] = up * alpha / 4
    named = pixels(engine, local(saved(tmp_path / "kohya.safetensors", state)))
    assert named == pixels(engine, local(saved(tmp_path / "plain.safetensors", expected)))


def test_a_model_saved_without_its_pipeline(engine: DiffusersEngine, tmp_path: Path) -> None:
    bare_names = local(saved(tmp_path / "bare.safetensors", factors("pixel")))
    assert pixels(engine, bare_names) == pixels(engine, demo("pixel"))


def test_peft_folder(engine: DiffusersEngine, tmp_path: Path) -> None:
    state = prefixed("base_model.model.", factors("pixel"))
    path = saved(tmp_path / "adapter_model.safetensors", state)
    plain = local(path, peft={"peft_type": "LORA", "r": 16, "lora_alpha": 16})
    strong = local(path, peft={"peft_type": "LORA", "r": 16, "lora_alpha": 32})
    rooted = local(path, peft={"r": 16, "lora_alpha": 8, "use_rslora": True})
    assert pixels(engine, plain) == pixels(engine, demo("pixel"))
    assert pixels(engine, strong) == pixels(engine, demo("pixel", 2.0))
    assert pixels(engine, rooted) == pixels(engine, demo("pixel", 8 / math.sqrt(16)))


def test_ranks_and_alphas_by_module(engine: DiffusersEngine, tmp_path: Path) -> None:
    path = saved(tmp_path / "adapter_model.safetensors", prefixed("base_model.model.", TWO))
    config = {
        "r": 4,
        "lora_alpha": 2,
        "rank_pattern": {"attn2.to_q": 2},
        "alpha_pattern": {"^" + OTHER_MODULE.replace(".", "\\."): 4},
    }
    strengths = {UNET_MODULE: 2 / 4, OTHER_MODULE: 4 / 2}
    expected = {
        f"unet.{key}": value * (strengths[key.split(".lora_")[0]] if "lora_B" in key else 1)
        for key, value in TWO.items()
    }
    plain = local(saved(tmp_path / "plain.safetensors", expected))
    assert pixels(engine, local(path, peft=config)) == pixels(engine, plain)


def test_the_header_of_diffusers(engine: DiffusersEngine, tmp_path: Path) -> None:
    state = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE))
    header = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 8})}
    strong = local(saved(tmp_path / "strong.safetensors", state, header))
    plain = saved(tmp_path / "plain.safetensors", state)
    assert pixels(engine, strong) == pixels(engine, local(plain, 2.0))


def test_the_same_weights_under_another_configuration_are_another_adapter(
    engine: DiffusersEngine, tmp_path: Path
) -> None:
    path = saved(tmp_path / "adapter_model.safetensors", pair(UNET_MODULE, UNET_SHAPE))
    pictures = {
        pixels(engine, local(path, peft={"r": 4, "lora_alpha": alpha})) for alpha in (1, 4, 8)
    }
    assert len(pictures) == 3


def test_text_encoder(engine: DiffusersEngine, tmp_path: Path) -> None:
    module = pair(TEXT_MODULE, TEXT_SHAPE)
    down, up = module.values()
    kohya_name = "lora_te_text_model_" + TEXT_MODULE.replace(".", "_").replace("_q_proj", "_q_proj")
    files = {
        "peft": prefixed("text_encoder.", module),
        "old": prefixed("text_encoder.text_model.", module),
        "folder": prefixed("base_model.model.", module),
        "diffusers": {
            f"text_encoder.text_model.{TEXT_MODULE}.lora_linear_layer.down.weight": down,
            f"text_encoder.text_model.{TEXT_MODULE}.lora_linear_layer.up.weight": up,
        },
        "kohya": {
            f"{kohya_name}.lora_down.weight": down,
            f"{kohya_name}.lora_up.weight": up,
            f"{kohya_name}.alpha": torch.tensor(4.0),
        },
    }
    bare = pixels(engine)
    pictures = {
        name: pixels(engine, local(saved(tmp_path / f"{name}.safetensors", state)))
        for name, state in files.items()
    }
    assert set(pictures.values()) == {pictures["peft"]} != {bare}
    assert pixels(engine) == bare


def test_unet_and_text_encoder_together(engine: DiffusersEngine, tmp_path: Path) -> None:
    unet = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE))
    text = prefixed("text_encoder.", pair(TEXT_MODULE, TEXT_SHAPE))
    files = {"unet": unet, "text": text, "both": unet | text}
    made = {n: local(saved(tmp_path / f"{n}.safetensors", s)) for n, s in files.items()}
    both = pixels(engine, made["both"])
    assert both == pixels(engine, made["unet"], made["text"])
    assert both not in (pixels(engine, made["unet"]), pixels(engine, made["text"]))


def test_what_is_reported_of_an_adapter(engine: DiffusersEngine, tmp_path: Path) -> None:
    told = saved(tmp_path / "told.safetensors", kohya("pixel", alpha=8))
    silent = saved(tmp_path / "silent.safetensors", prefixed("unet.", TWO))
    one, other = engine.apply([local(told, 0.5), local(silent, -2.0)])
    assert (one.modules, one.rank, one.effective_scale) == (84, 16, 0.25)
    assert not one.alpha_assumed
    # Two ranks; without an alpha both strengths are 1.
    assert (other.modules, other.rank, other.effective_scale) == (2, 4, -2.0)
    assert other.alpha_assumed
