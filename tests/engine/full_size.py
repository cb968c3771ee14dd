"""Bases of their real widths, on `meta`: names and shapes without a byte of weights."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers import (
    DiffusionPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lorajobs.engine.lora_weights import Reader


def _clip(width: int, layers: int, *, projects: bool = False) -> nn.Module:
    kind = CLIPTextModelWithProjection if projects else CLIPTextModel
    made: nn.Module = kind(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            projection_dim=width,
        )
    )
    return made


def _unet(**options: Any) -> nn.Module:
    made: nn.Module = UNet2DConditionModel(**options)
    return made


def _sdxl() -> nn.Module:
    return _unet(
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def _sd3(layers: int, heads: int, dual: int) -> nn.Module:
    made: nn.Module = SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=heads,
        joint_attention_dim=4096,
        caption_projection_dim=64 * heads,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
        dual_attention_layers=tuple(range(dual)),
        qk_norm="rms_norm" if dual else None,
    )
    return made


def _flux() -> nn.Module:
    made: nn.Module = FluxTransformer2DModel(guidance_embeds=True)
    return made


#: The pipeline's class, and its components.
_BASES: dict[str, tuple[type[DiffusionPipeline], dict[str, Callable[[], nn.Module]]]] = {
    "sd15": (
        StableDiffusionPipeline,
        {"unet": lambda: _unet(cross_attention_dim=768), "text_encoder": lambda: _clip(768, 12)},
    ),
    "sd2": (
        StableDiffusionPipeline,
        {
            "unet": lambda: _unet(
                cross_attention_dim=1024,
                attention_head_dim=(5, 10, 20, 20),
                use_linear_projection=True,
            ),
            "text_encoder": lambda: _clip(1024, 23),
        },
    ),
    "sdxl": (
        StableDiffusionXLPipeline,
        {
            "unet": _sdxl,
            "text_encoder": lambda: _clip(768, 12),
            "text_encoder_2": lambda: _clip(1280, 32, projects=True),
        },
    ),
    "sd3": (
        StableDiffusion3Pipeline,
        {
            "transformer": lambda: _sd3(24, 24, 0),
            "text_encoder": lambda: _clip(768, 12, projects=True),
            "text_encoder_2": lambda: _clip(1280, 32, projects=True),
        },
    ),
    "sd35": (
        StableDiffusion3Pipeline,
        {
            "transformer": lambda: _sd3(24, 24, 13),
            "text_encoder": lambda: _clip(768, 12, projects=True),
            "text_encoder_2": lambda: _clip(1280, 32, projects=True),
        },
    ),
    "flux": (FluxPipeline, {"transformer": _flux, "text_encoder": lambda: _clip(768, 12)}),
}
FAMILIES = tuple(_BASES)


@cache
def reader(family: str) -> Reader:
    """What reads adapters for one of the bases."""
    kind, components = _BASES[family]
    pipe = kind.__new__(kind)
    with torch.device("meta"):
        for name, make in components.items():
            setattr(pipe, name, make())
    return Reader(pipe)
