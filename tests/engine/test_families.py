"""The engine on the architectures of SD1.5, SDXL, SD3 and Flux, each with the others' files."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorajobs.catalog import ModelEntry
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.lora_errors import LoraShapeMismatch, LoraUnknownKeys, LoraWrongFamily
from lorajobs.settings import Settings
from tests.engine.adapters import local, pair, pixels, prefixed, saved
from tests.engine.tiny import FAMILIES, save
from tests.jobs import a_spec

SD_MODULE, SD_SHAPE = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", (64, 64)
TEXT_KEYS = SD_MODULE.replace("attn1.to_q", "attn2.to_k")
XL_MODULE, XL_SHAPE = "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q", (64, 64)
DIT_MODULE, DIT_SHAPE = "transformer_blocks.0.attn.to_q", (32, 32)
CLIP_MODULE, CLIP_SHAPE = "text_model.encoder.layers.0.self_attn.q_proj", (32, 32)
#: An adapter for each family, with a part in each component that it can adapt.
NATIVE: dict[str, dict[str, Tensor]] = {
    "sd15": prefixed("unet.", pair(SD_MODULE, SD_SHAPE))
    | prefixed("text_encoder.", pair(CLIP_MODULE, CLIP_SHAPE)),
    "sdxl": prefixed("unet.", pair(XL_MODULE, XL_SHAPE))
    | prefixed("text_encoder.", pair(CLIP_MODULE, CLIP_SHAPE))
    | prefixed("text_encoder_2.", pair(CLIP_MODULE, CLIP_SHAPE, seed=1)),
    "sd3": prefixed("transformer.", pair(DIT_MODULE, DIT_SHAPE))
    | prefixed("text_encoder.", pair(CLIP_MODULE, CLIP_SHAPE))
    | prefixed("text_encoder_2.", pair(CLIP_MODULE, CLIP_SHAPE, seed=1)),
    "flux": prefixed("transformer.", pair("single_" + DIT_MODULE, DIT_SHAPE))
    | prefixed("text_encoder.", pair(CLIP_MODULE, CLIP_SHAPE)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, DiffusersEngine]:
    """A family's name and its warm base."""
    folder = save(request.param, tmp_path_factory.mktemp(request.param))
    engine = DiffusersEngine(ModelEntry(id=request.param, path=folder), Settings(device="cpu"))
    engine.load()
    return request.param, engine


def test_its_own_adapters(family: tuple[str, DiffusersEngine], tmp_path: Path) -> None:
    name, engine = family
    bare = pixels(engine)
    path = saved(tmp_path / "whole.safetensors", NATIVE[name])
    pictures = [pixels(engine, local(path)), pixels(engine, local(path, 0.5))]
    for component in {key.split(".")[0] for key in NATIVE[name]}:
        part = {k: v for k, v in NATIVE[name].items() if k.startswith(f"{component}.")}
        pictures.append(pixels(engine, local(saved(tmp_path / f"{component}.st", part))))
    assert len({bare, *pictures}) == len(pictures) + 1
    assert pixels(engine) == bare


#: One module of the real width that tells the family, with the name that the refusal gives it.
REAL: dict[str, tuple[str, str, tuple[int, int]]] = {
    "sd15": ("Stable Diffusion 1.x", f"unet.{TEXT_KEYS}", (640, 768)),
    "sd2": ("Stable Diffusion 2.x", f"unet.{TEXT_KEYS}", (640, 1024)),
    "sdxl": ("SDXL", f"unet.{XL_MODULE}", (640, 640)),
    "sd3": ("Stable Diffusion 3", f"transformer.{DIT_MODULE}", (1536, 1536)),
    "sd35 large": ("Stable Diffusion 3", f"transformer.{DIT_MODULE}", (2432, 2432)),
    "flux": ("Flux.1", f"transformer.single_{DIT_MODULE}", (3072, 3072)),
    "flux of kohya": ("Flux.1", "lora_unet_double_blocks_0_img_attn_proj", (3072, 3072)),
    "qwen": ("Qwen-Image", "transformer.transformer_blocks.0.img_mlp.net.2", (3072, 12288)),
    "wan": ("Wan", "diffusion_model.blocks.0.self_attn.q", (1536, 1536)),
}
OWN = {"sd15": {"sd15"}, "sdxl": {"sdxl"}, "sd3": {"sd3", "sd35 large"}}
OWN |= {"flux": {"flux", "flux of kohya"}}
BASES = {"sd15": "texts 32 wide", "sdxl": "SDXL", "sd3": "Stable Diffusion 3", "flux": "Flux.1"}


def test_files_of_the_other_families(family: tuple[str, DiffusersEngine], tmp_path: Path) -> None:
    name, engine = family
    bare = pixels(engine)
    for other, (called, module, shape) in REAL.items():
        path = saved(tmp_path / f"{other}.safetensors", pair(module, shape))
        # A base of another width, even of the same family, has no room for these shapes.
        own = other in OWN[name] and name != "sd15"
        kind = LoraShapeMismatch if own else LoraWrongFamily
        with pytest.raises(kind) as caught:
            engine.apply([local(path)])
        if not own:
            assert called in caught.value.detail
            assert BASES[name] in caught.value.detail
    for other, state in NATIVE.items():
        # At these widths nothing tells the families, and the tiny SDXL has all that SD1.5 has.
        if other != name and (other, name) != ("sd15", "sdxl"):
            adapter = local(saved(tmp_path / f"{other}.safetensors", state))
            with pytest.raises((LoraUnknownKeys, LoraShapeMismatch)):
                engine.apply([adapter])
    assert pixels(engine) == bare


def test_prompts_and_negative_prompts(family: tuple[str, DiffusersEngine]) -> None:
    name, engine = family
    spec = a_spec(
        width=64,
        height=64,
        num_inference_steps=2,
        prompt="a red heart " * 9,
        negative_prompt="ugly",
    )
    codes = [warning.code for warning in engine.generate(spec, lambda step: None).warnings]
    # Both text encoders cut at the same place, which is one problem and not two.
    assert codes == ["prompt_truncated"] + ["negative_prompt_ignored"] * (name == "flux")


@pytest.mark.parametrize("family", ["sd3"], indirect=True)
def test_kohya_files_that_diffusers_ignores_on_sd3(
    family: tuple[str, DiffusersEngine], tmp_path: Path
) -> None:
    down, up = torch.randn(4, 32), torch.randn(96, 4)
    called = "lora_unet_joint_blocks_0_x_block_attn_qkv"
    kohya = {f"{called}.lora_down.weight": down, f"{called}.lora_up.weight": up}
    plain: dict[str, Tensor] = {}
    for name, part in zip("qkv", up.chunk(3), strict=True):
        plain[f"transformer.transformer_blocks.0.attn.to_{name}.lora_A.weight"] = down
        plain[f"transformer.transformer_blocks.0.attn.to_{name}.lora_B.weight"] = part
    one = pixels(family[1], local(saved(tmp_path / "kohya.safetensors", kohya)))
    assert one == pixels(family[1], local(saved(tmp_path / "plain.safetensors", plain)))
    assert one != pixels(family[1])


@pytest.mark.parametrize("family", ["flux"], indirect=True)
def test_kohya_files_on_flux(family: tuple[str, DiffusersEngine], tmp_path: Path) -> None:
    down, up = torch.randn(4, 32), torch.randn(96, 4)
    called = "lora_unet_double_blocks_0_img_attn_qkv"
    kohya = {
        f"{called}.lora_down.weight": down,
        f"{called}.lora_up.weight": up,
        f"{called}.alpha": torch.tensor(2.0),
    }
    plain: dict[str, Tensor] = {}
    for name, part in zip("qkv", up.chunk(3), strict=True):
        plain[f"transformer.transformer_blocks.0.attn.to_{name}.lora_A.weight"] = down
        plain[f"transformer.transformer_blocks.0.attn.to_{name}.lora_B.weight"] = part / 2
    one = pixels(family[1], local(saved(tmp_path / "kohya.safetensors", kohya)))
    assert one == pixels(family[1], local(saved(tmp_path / "plain.safetensors", plain)))


@pytest.mark.parametrize("family", ["sdxl"], indirect=True)
def test_kohya_files_on_sdxl(family: tuple[str, DiffusersEngine], tmp_path: Path) -> None:
    engine = family[1]
    kohya: dict[str, Tensor] = {}
    for called, key in {
        # As kohya-ss numbers the blocks of SDXL.
        "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q": f"unet.{XL_MODULE}",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": f"text_encoder.{CLIP_MODULE}",
        "lora_te2_text_model_encoder_layers_0_self_attn_q_proj": f"text_encoder_2.{CLIP_MODULE}",
    }.items():
        kohya[f"{called}.lora_down.weight"] = NATIVE["sdxl"][f"{key}.lora_A.weight"]
        kohya[f"{called}.lora_up.weight"] = NATIVE["sdxl"][f"{key}.lora_B.weight"]
        kohya[f"{called}.alpha"] = torch.tensor(4.0)
    one = pixels(engine, local(saved(tmp_path / "kohya.safetensors", kohya)))
    assert one == pixels(engine, local(saved(tmp_path / "plain.safetensors", NATIVE["sdxl"])))
    # Of a file that numbers its blocks in both ways diffusers drops the ones of kohya-ss.
    called = "lora_unet_down_blocks_1_attentions_0_proj_in"
    both = kohya | {
        f"{called}.lora_down.weight": torch.ones(4, 64),
        f"{called}.lora_up.weight": torch.ones(64, 4),
    }
    (applied,) = engine.apply([local(saved(tmp_path / "both.safetensors", both))])
    assert (applied.modules, applied.rank) == (4, 4)
    strange = kohya | {k.replace("input_blocks_4", "input_blocks_11"): v for k, v in kohya.items()}
    with pytest.raises(LoraUnknownKeys, match=r"1 of its 4 modules.*input_blocks_11"):
        engine.apply([local(saved(tmp_path / "strange.safetensors", strange))])
