"""The architecture of SDXL with random weights, and adapters for it: nothing is downloaded."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from lorajobs.catalog import DEMO
from lorajobs.engine.base import LocalAdapter
from lorajobs.spec import Adapter, AdapterUse

#: Where the name of a text encoder's linear layer begins in files.
_CLIP = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class Size(NamedTuple):
    """How large the base is."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    #: of the latents that a step denoises, and of the text
    latent: int
    text: int
    #: of each text encoder: width, layers, heads
    encoders: tuple[tuple[int, int, int], ...]
    vae: tuple[int, ...]


FULL = Size(
    (320, 640, 1280),
    (1, 2, 10),
    (5, 10, 20),
    128,
    2048,
    ((768, 12, 12), (1280, 32, 20)),
    (128, 256, 512, 512),
)
SMALL = Size((32, 64, 64), (1, 1, 1), (2, 4, 4), 16, 64, ((32, 2, 4), (32, 2, 4)), (32, 32, 32, 32))


class Spelling(NamedTuple):
    """How a trainer calls the factors of one weight."""

    module: Callable[[str], str]
    down: str
    up: str
    has_alpha: bool = False


PEFT = Spelling(str, "lora_A", "lora_B")
#: Others: PEFT on its own, diffusers of old, Kohya.
TRAINERS = (
    Spelling(lambda path: f"base_model.model.{path}", "lora_A", "lora_B"),
    Spelling(str, "lora.down", "lora.up"),
    Spelling(lambda path: "lora_" + path.replace(".", "_"), "lora_down", "lora_up", has_alpha=True),
)


def pipeline(size: Size, device: torch.device, dtype: torch.dtype) -> DiffusionPipeline:
    """A bare base on the device, always with the same weights."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=size.latent,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=size.widths,
            layers_per_block=2,
            cross_attention_dim=size.text,
            transformer_layers_per_block=size.depths,
            attention_head_dim=size.heads,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=256 * 6 + size.encoders[1][0],
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=size.vae,
            layers_per_block=2,
            latent_channels=4,
            # As the one that people use in half precision.
            force_upcast=False,
        )
        one, two = (_clip(*encoder) for encoder in size.encoders)
        encoders = CLIPTextModel(one), CLIPTextModelWithProjection(two)
    parts = [part.to(dtype).eval().requires_grad_(False) for part in (unet, vae, *encoders)]
    pipe = StableDiffusionXLPipeline(
        vae=parts[1],
        text_encoder=parts[2],
        text_encoder_2=parts[3],
        tokenizer=None,
        tokenizer_2=None,
        unet=parts[0],
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save(size: Size, device: torch.device, dtype: torch.dtype, folder: Path) -> None:
    """Writes such a base as a folder that an engine loads, with the demo's tokenizer."""
    pipe = pipeline(size, device, dtype)
    tokenizer = CLIPTokenizer.from_pretrained(
        DEMO.parent / "base" / "tokenizer", model_max_length=77
    )
    pipe.register_modules(tokenizer=tokenizer, tokenizer_2=tokenizer)
    pipe.save_pretrained(folder)


def linears(pipe: DiffusionPipeline, *, encoders: bool) -> Mapping[str, torch.Size]:
    """The linear weights of the U-Net's transformer blocks, and of both text encoders."""
    found = {
        f"unet.{path}": module.weight.shape
        for path, module in pipe.unet.named_modules()
        if isinstance(module, torch.nn.Linear) and "transformer_blocks" in path
    }
    for name in ("text_encoder", "text_encoder_2") if encoders else ():
        for path, module in getattr(pipe, name).named_modules():
            if isinstance(module, torch.nn.Linear) and path.endswith(_CLIP):
                found[f"{name}.{path}"] = module.weight.shape
    return found


def adapter_file(
    path: Path,
    targets: Mapping[str, torch.Size],
    rank: int,
    seed: int,
    device: torch.device,
    spelling: Spelling = PEFT,
) -> Path:
    """A file in half precision; both factors are random."""
    noise = torch.Generator(device).manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        made = torch.randn(shape, generator=noise, device=device) * 0.01
        return made.half().cpu()

    state = {}
    for name, (out, *width) in targets.items():
        module = spelling.module(name)
        state[f"{module}.{spelling.down}.weight"] = random(rank, *width)
        state[f"{module}.{spelling.up}.weight"] = random(out, rank, *(1,) * (len(width) - 1))
        if spelling.has_alpha:
            state[f"{module}.alpha"] = torch.tensor(rank / 2).half()
    save_file(state, path)
    return path


def local(path: Path, scale: float = 1.0) -> LocalAdapter:
    """A file as the disk tier hands it to the engine."""
    adapter = Adapter(
        id=path.stem,
        location=str(path),
        revision="1",
        sha256=_sha256(path),
        bytes=path.stat().st_size,
        weight_name=path.name,
    )
    return LocalAdapter(AdapterUse(adapter=adapter, scale=scale), path)


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def step_inputs(pipe: DiffusionPipeline, size: Size) -> dict[str, Any]:
    """What one call of the U-Net takes for one picture with guidance."""
    to = {"device": pipe.unet.device, "dtype": pipe.unet.dtype}
    pooled = size.encoders[1][0]
    return {
        "sample": torch.randn(2, 4, size.latent, size.latent, **to),
        "timestep": torch.tensor(500.0, device=pipe.unet.device),
        "encoder_hidden_states": torch.randn(2, 77, size.text, **to),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(2, pooled, **to),
            "time_ids": torch.randn(2, 6, **to),
        },
    }


def equal(one: DiffusionPipeline, other: DiffusionPipeline, components: Sequence[str]) -> bool:
    """True if two bases have the same weights, to the bit."""
    return all(
        torch.equal(weight, getattr(other, component).get_parameter(name))
        for component in components
        for name, weight in getattr(one, component).named_parameters()
    )


def _clip(width: int, layers: int, heads: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=4096,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
    )
