"""What a header alone tells, and what it refuses."""

import json
from pathlib import Path

import pytest

from lorajobs.adapters import family
from lorajobs.adapters.anatomy import anatomy, require
from lorajobs.adapters.header import Header, Tensor
from lorajobs.errors import LoraJobsError

BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0."
Shapes = dict[str, tuple[int, ...]]


def header(shapes: Shapes) -> Header:
    """A header of tensors without bytes."""
    return Header({name: Tensor("F16", shape, (0, 0)) for name, shape in shapes.items()}, {}, 0, 0)


def pair(module: str, out: int, width: int, rank: int = 4) -> Shapes:
    return {f"{module}.lora_A.weight": (rank, width), f"{module}.lora_B.weight": (out, rank)}


#: A module that shows each family, dotted and as Kohya flattens it.
SIGNS = {
    family.SD1: pair(f"unet.{BLOCK}attn2.to_k", 640, 768),
    family.SD2: pair(f"lora_unet_{BLOCK.replace('.', '_')}attn2_to_v", 640, 1024),
    family.SDXL: pair("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q", 640, 640),
    family.SD3: pair("lora_unet_joint_blocks_0_x_block_attn_qkv", 4608, 1536),
    family.FLUX: pair("transformer.single_transformer_blocks.0.proj_out", 3072, 15360),
    family.FLUX2: pair("diffusion_model.double_blocks.0.img_attn.proj", 6144, 6144),
    family.QWEN: pair("transformer.transformer_blocks.59.txt_mlp.net.2", 3072, 12288),
    family.WAN: pair("diffusion_model.blocks.0.cross_attn.v", 1536, 1536),
    family.PIXART: pair("transformer.transformer_blocks.0.attn1.to_q", 1152, 1152),
    family.Z_IMAGE: pair("diffusion_model.layers.0.attention.to_q", 3840, 3840),
}


@pytest.mark.parametrize("name", SIGNS)
def test_names_and_shapes_tell_the_family(name: str) -> None:
    assert anatomy(header(SIGNS[name])).family == name


@pytest.mark.parametrize("one", SIGNS)
@pytest.mark.parametrize("other", SIGNS)
def test_another_familys_adapter_is_refused_with_both_names(one: str, other: str) -> None:
    found = anatomy(header(SIGNS[one]))
    if one == other:
        require(found, other)
        return
    with pytest.raises(LoraJobsError) as caught:
        require(found, other)
    assert caught.value.code == "lora_wrong_family"
    assert one in caught.value.detail
    assert other in caught.value.detail


@pytest.mark.parametrize(
    "shapes",
    [
        # Text encoders and self-attentions are the same in several families.
        pair("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 768, 768),
        pair(f"unet.{BLOCK}attn1.to_q", 320, 320),
        pair("transformer.transformer_blocks.0.attn.to_q", 3072, 3072),
        # Signs that contradict each other prove nothing.
        SIGNS[family.SD1] | SIGNS[family.FLUX],
    ],
)
def test_without_a_sure_sign_no_family_is_told_and_none_refused(shapes: Shapes) -> None:
    found = anatomy(header(shapes))
    assert found.family is None
    require(found, family.SDXL)


def test_ranks_kinds_and_alphas() -> None:
    shapes = pair("unet.a", 8, 8, rank=4) | pair("unet.b", 8, 8, rank=16)
    shapes |= {"lora_unet_c.diff": (8, 8), "unet.a.alpha": (), "v_pred": (0,)}
    found = anatomy(header(shapes))
    assert sorted(found.ranks) == [4, 16]
    assert found.kinds == {"LoRA": 2, "full difference": 1}
    assert found.without_alpha == 1
    assert found.inventory.extras == ("v_pred",)
    require(found, None)


@pytest.mark.parametrize(
    ("shapes", "code"),
    [
        ({"unet.conv_in.weight": (3, 3)}, "lora_no_effect"),
        ({"v_pred": (0,)}, "lora_no_effect"),
        (pair("unet.a", 8, 8) | {"unet.extra": (1,)}, "lora_unknown_keys"),
        (pair("unet.a", 8, 8) | {"x.oft_R": (1, 2)}, "lora_unsupported_format"),
        ({"unet.a.lora_A.weight": (4, 8)}, "lora_shape_mismatch"),
        (pair("unet.a", 8, 8) | {"unet.a.diff": (8, 8)}, "lora_shape_mismatch"),
        ({"a.hada_w1_a": (8, 4), "a.hada_w1_b": (4, 8)}, "lora_shape_mismatch"),
        (pair("unet.a", 8, 8, rank=4097), "lora_too_large"),
    ],
)
def test_refusals(shapes: Shapes, code: str) -> None:
    with pytest.raises(LoraJobsError) as caught:
        require(anatomy(header(shapes)), None)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "width", "expected"),
    [
        ("StableDiffusionPipeline", 768, family.SD1),
        ("StableDiffusionPipeline", 1024, family.SD2),
        ("StableDiffusionPipeline", 192, "Stable Diffusion with texts 192 wide"),
        ("StableDiffusionXLInpaintPipeline", 2048, family.SDXL),
        ("StableDiffusion3Pipeline", None, family.SD3),
        ("FluxPipeline", None, family.FLUX),
        ("Flux2Pipeline", None, family.FLUX2),
        ("SomethingNewPipeline", None, None),
        ("StableDiffusionPipeline", None, None),
    ],
)
def test_a_base_by_its_pipeline(name: str, width: int | None, expected: str | None) -> None:
    assert family.of_pipeline(name, width) == expected


def test_a_base_by_its_files(tmp_path: Path) -> None:
    index, unet = tmp_path / "model_index.json", tmp_path / "config.json"
    index.write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert family.of_files(index, unet) is None
    unet.write_text(json.dumps({"cross_attention_dim": 768}))
    assert family.of_files(index, unet) == family.SD1
    unet.write_text("no json")
    assert family.of_files(index, unet) is None
    assert family.of_files(None, None) is None
