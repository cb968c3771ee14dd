"""Bases of their real widths, on `meta`: names and shapes without a byte of weights."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers import (
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


def _unet(unit: int, **options: Any) -> nn.Module:
    channels = {"block_out_channels": (unit, 2 * unit, 4 * unit, 4 * unit)}
    made: nn.Module = UNet2DConditionModel(**(channels | options))
    return made


def _sdxl(unit: int) -> nn.Module:
    return _unet(
        unit,
        block_out_channels=(unit, 2 * unit, 4 * unit),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(unit // 64 or 1, unit // 32, unit // 16),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def _sd2(unit: int) -> nn.Module:
    heads = tuple(n * unit // 64 or 1 for n in (1, 2, 4, 4))
    return _unet(
        unit, cross_attention_dim=1024, attention_head_dim=heads, use_linear_projection=True
    )


def _sd3(heads: int, dual: int) -> nn.Module:
    made: nn.Module = SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24,
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


def _flux(heads: int) -> nn.Module:
    made: nn.Module = FluxTransformer2DModel(num_attention_heads=heads, guidance_embeds=True)
    return made


#: The pipeline's class, and its denoiser for a share of the real width.
_BASES: dict[str, tuple[Any, str, Callable[[int], nn.Module]]] = {
    "sd15": (
        StableDiffusionPipeline,
        "unet",
        lambda share: _unet(320 // share, cross_attention_dim=768),
    ),
    "sd2": (StableDiffusionPipeline, "unet", lambda share: _sd2(320 // share)),
    "sdxl": (StableDiffusionXLPipeline, "unet", lambda share: _sdxl(320 // share)),
    "sd3": (StableDiffusion3Pipeline, "transformer", lambda share: _sd3(24 // share or 1, 0)),
    "sd35": (StableDiffusion3Pipeline, "transformer", lambda share: _sd3(24 // share or 1, 13)),
    "flux": (FluxPipeline, "transformer", lambda share: _flux(24 // share or 1)),
}
#: Width, layers, and whether it projects, of CLIP's text encoders.
_TEXTS = {
    "sd15": ((768, 12, False),),
    "sd2": ((1024, 23, False),),
    "sdxl": ((768, 12, False), (1280, 32, True)),
    "sd3": ((768, 12, True), (1280, 32, True)),
    "sd35": ((768, 12, True), (1280, 32, True)),
    "flux": ((768, 12, False),),
}
FAMILIES = tuple(_BASES)


@cache
def pipeline(family: str, share: int = 1) -> Any:
    """One of the bases; `share` 10 makes it about ten times as narrow."""
    kind, name, make = _BASES[family]
    pipe = kind.__new__(kind)
    with torch.device("meta"):
        setattr(pipe, name, make(share))
        for number, (width, layers, projects) in enumerate(_TEXTS[family]):
            component = f"text_encoder_{number + 1}" if number else "text_encoder"
            narrow = width if share == 1 else 64
            setattr(pipe, component, _clip(narrow, layers, projects=projects))
    return pipe


@cache
def reader(family: str, share: int = 1) -> Reader:
    """What reads adapters for it."""
    return Reader(pipeline(family, share))
