"""The demo base: `python -m training.base data/flat --vae work/vae --out work/base`.

A Stable Diffusion in small: its own words, a text encoder and a denoiser, trained together on the
latents of one style. Noise reaches all of the picture (zero terminal SNR), so dark adapters are
possible.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.training_utils import EMAModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training import diffusion
from training.captioned import Captioned, read
from training.demo import device

VOCABULARY, WORDS, WIDTH = 2400, 24, 192
RATE = 8e-4
#: Ways in which each picture is described.
VARIANTS = 24
MIRRORED = 0.15
#: Share of the weights that the average keeps at each step.
AVERAGE = 0.9995


def tokenizer(examples: Sequence[Captioned]) -> CLIPTokenizer:
    """One that knows the words of the captions."""
    empty = CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[])
    texts = [f"{example.text} {' '.join(example.tags)}" for example in examples]
    made = empty.train_new_from_iterator([texts], vocab_size=VOCABULARY)
    made.model_max_length = WORDS
    return made


def text_encoder(words: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text model without any training."""
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        max_position_embeddings=WORDS,
        hidden_act="gelu",
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return CLIPTextModel(config).to(device())


def denoiser(channels: int) -> UNet2DConditionModel:
    """A UNet of ten million weights on latents of 16 × 16."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(96, 160, 160),
        attention_head_dim=(4, 5, 5),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
    ).to(device())


def schedule() -> DDIMScheduler:
    """Stable Diffusion's noise, with none of the picture left at the last step.

    Source: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


def described(example: Captioned) -> str:
    """The caption as people might write it: its name, other words for it, or both."""
    others = random.sample(example.tags, min(len(example.tags), random.randint(0, 3)))
    chance = random.random()
    named = [] if chance > 0.8 and others else [example.text]
    text = ", ".join(named + (others if chance > 0.55 else []))
    return f"a {text}" if random.random() < 0.3 else text


def train(
    pipe: StableDiffusionPipeline, examples: Sequence[Captioned], *, steps: int, batch: int
) -> None:
    """Trains the denoiser and the text encoder; the pipeline ends with their averages over time."""
    trained = torch.nn.ModuleList([pipe.unet, pipe.text_encoder])
    latents, texts = _latents(pipe.vae, examples), _texts(pipe.tokenizer, examples)
    (empty,) = diffusion.tokens(pipe.tokenizer, [""])
    optimizer = torch.optim.AdamW(trained.parameters(), RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    course = diffusion.course(optimizer, steps)
    average = EMAModel(trained.parameters(), decay=AVERAGE)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(examples), (batch,), device=device())
        mirrored = (torch.rand(batch, device=device()) < MIRRORED).long()
        variant = torch.randint(VARIANTS, (batch,), device=device())
        without = torch.rand(batch, 1, device=device()) < diffusion.WITHOUT_TEXT
        asked = torch.where(without, empty, texts[chosen, variant])
        with diffusion.precision():
            states = pipe.text_encoder(asked)[0]
        clean = latents[chosen, mirrored]
        noised = diffusion.Noised.draw(clean)
        lost = diffusion.loss(pipe.unet, pipe.scheduler, clean, states, noised)
        diffusion.update(optimizer, trained.parameters(), lost)
        course.step()
        average.step(trained.parameters())
        if step % 500 == 0 or step == steps:
            click.echo(f"step {step:5} of {steps}  loss {lost.item():.4f}")
    average.copy_to(trained.parameters())


def _latents(vae: AutoencoderTiny, examples: Sequence[Captioned]) -> Tensor:
    """(pictures, 2, channels, 16, 16): each as it is, and mirrored."""
    data = diffusion.pixels([example.picture for example in examples])
    return torch.stack([diffusion.latents(vae, side) for side in (data, data.flip(3))], dim=1)


def _texts(words: CLIPTokenizer, examples: Sequence[Captioned]) -> Tensor:
    """(pictures, variants, tokens) of captions."""
    variants = [
        diffusion.tokens(words, [described(example) for example in examples])
        for _ in range(VARIANTS)
    ]
    return torch.stack(variants, dim=1)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--vae", "vae_folder", default="work/vae", type=click.Path(path_type=Path))
@click.option("--out", default="work/base", type=click.Path(file_okay=False, path_type=Path))
@click.option("--steps", default=20_000, show_default=True)
@click.option("--batch", default=1024, show_default=True)
def main(folder: Path, vae_folder: Path, out: Path, steps: int, batch: int) -> None:
    """Train a base on the captioned pictures in FOLDER."""
    torch.manual_seed(0)
    random.seed(0)
    begun = time.monotonic()
    examples = read(folder)
    words = tokenizer(examples)
    vae = AutoencoderTiny.from_pretrained(vae_folder).to(device())
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder(words),
        tokenizer=words,
        unet=denoiser(vae.config.latent_channels),
        scheduler=schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    train(pipe, examples, steps=steps, batch=batch)
    pipe.to(torch.float16).save_pretrained(out)
    click.echo(f"saved {out} after {len(examples)} pictures, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
