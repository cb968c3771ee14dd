"""The architectures of SD1.5, SDXL, SD3 and Flux with a few random weights, saved as real bases."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from lorajobs.catalog import DEMO

_TOKENIZER = DEMO.parent / "base" / "tokenizer"


def _clip(kind: type[CLIPTextModel] | type[CLIPTextModelWithProjection]) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=2400,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=24,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return kind(config)


def _vae(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def sd15() -> DiffusionPipeline:
    """Stable Diffusion 1.5: one text encoder, and convolutions around its attentions."""
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=32,
    )
    return StableDiffusionPipeline(
        vae=_vae(4),
        text_encoder=_clip(CLIPTextModel),
        tokenizer=CLIPTokenizer.from_pretrained(_TOKENIZER),
        unet=unet,
        scheduler=EulerDiscreteScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> DiffusionPipeline:
    """SDXL: two text encoders and a UNet with added conditions."""
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=2,
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(4),
        text_encoder=_clip(CLIPTextModel),
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        tokenizer=CLIPTokenizer.from_pretrained(_TOKENIZER),
        tokenizer_2=CLIPTokenizer.from_pretrained(_TOKENIZER),
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )


def sd3() -> DiffusionPipeline:
    """SD3 as it is often used: without its T5."""
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
    )
    return StableDiffusion3Pipeline(
        vae=_vae(4),
        text_encoder=_clip(CLIPTextModelWithProjection),
        text_encoder_2=_clip(CLIPTextModelWithProjection),
        text_encoder_3=None,
        tokenizer=CLIPTokenizer.from_pretrained(_TOKENIZER),
        tokenizer_2=CLIPTokenizer.from_pretrained(_TOKENIZER),
        tokenizer_3=None,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def flux() -> DiffusionPipeline:
    """Flux: CLIP and T5, guidance inside the model."""
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    letters = [(chr(code), -1.0) for code in range(ord("a"), ord("z") + 1)]
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    t5 = T5Config(
        vocab_size=32,
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    return FluxPipeline(
        vae=_vae(1),
        text_encoder=_clip(CLIPTextModel),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer=CLIPTokenizer.from_pretrained(_TOKENIZER),
        tokenizer_2=T5Tokenizer(vocab=marks + letters, extra_ids=0),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd15": sd15,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
}


def save(family: str, folder: Path) -> Path:
    """Writes one of the bases, always with the same weights."""
    torch.manual_seed(0)
    FAMILIES[family]().save_pretrained(folder)
    return folder
