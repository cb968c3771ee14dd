"""Trains a LoRA on the demo base: `python -m training.lora FOLDER --out FILE`.

FOLDER is one of pictures with captions (`training/captioned.py`). Every eighth picture is kept
back: what the adapter did not see tells whether it learned a style or its pictures.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from training import diffusion
from training.captioned import Captioned, read
from training.demo import BASE, pipeline

LINEAR = (
    *("to_q", "to_k", "to_v", "to_out.0"),
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
)
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "time_emb_proj")
HELD_OUT = 8
#: Times at which each picture that was kept back is asked; the same before and after.
QUESTIONS = 8
REPORT_EVERY = 50


class Lesson(NamedTuple):
    """Pictures and captions as the denoiser meets them."""

    latents: Tensor
    #: (n, tokens, width) of the text encoder
    states: Tensor
    #: (tokens, width) of the empty caption
    empty: Tensor

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Some of them at random, a few without their caption."""
        chosen = torch.randint(len(self.latents), (size,), device=self.latents.device)
        without = torch.rand(size, 1, 1, device=self.latents.device) < diffusion.WITHOUT_TEXT
        return self.latents[chosen], torch.where(without, self.empty, self.states[chosen])


class Outcome(NamedTuple):
    """How well pictures that were kept back are denoised, as a mean squared error."""

    before: float
    after: float
    seconds: float

    @property
    def learned(self) -> bool:
        """True if it got better by a tenth or more."""
        return self.after < 0.9 * self.before


@torch.no_grad()
def lesson(pipe: StableDiffusionPipeline, examples: Sequence[Captioned]) -> Lesson:
    """Encodes the pictures and captions once: neither encoder is trained."""
    texts = diffusion.tokens(pipe.tokenizer, ["", *(example.text for example in examples)])
    states = pipe.text_encoder(texts)[0]
    data = diffusion.pixels([example.picture for example in examples])
    return Lesson(diffusion.latents(pipe.vae, data), states[1:], states[0])


@torch.no_grad()
def held_out_loss(pipe: StableDiffusionPipeline, kept: Lesson) -> float:
    """The error on pictures that were kept back, with the same noise at every call."""
    again = torch.Generator().manual_seed(0)
    errors = [
        diffusion.loss(
            pipe.unet,
            pipe.scheduler,
            kept.latents,
            kept.states,
            diffusion.Noised.draw(kept.latents, again),
        ).item()
        for _ in range(QUESTIONS)
    ]
    return sum(errors) / len(errors)


def train(
    pipe: StableDiffusionPipeline,
    examples: Sequence[Captioned],
    config: LoraConfig,
    *,
    steps: int,
    batch: int,
    rate: float,
) -> Outcome:
    """Puts an adapter into the pipeline's denoiser and trains it.

    Raises: ValueError if there are too few pictures to keep one back.
    """
    if len(examples) < HELD_OUT:
        raise ValueError(f"{len(examples)} pictures are too few: {HELD_OUT} at least")
    for part in (pipe.vae, pipe.text_encoder, pipe.unet):
        part.requires_grad_(False)
    pipe.unet.add_adapter(config)
    kept = lesson(pipe, examples[::HELD_OUT])
    seen = lesson(pipe, [example for i, example in enumerate(examples) if i % HELD_OUT])
    parameters = [p for p in pipe.unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=1e-4)
    course = diffusion.course(optimizer, steps)
    before, begun = held_out_loss(pipe, kept), time.monotonic()
    for step in range(1, steps + 1):
        clean, states = seen.batch(batch)
        asked = diffusion.Noised.draw(clean)
        error = diffusion.loss(pipe.unet, pipe.scheduler, clean, states, asked)
        diffusion.update(optimizer, parameters, error)
        course.step()
        if step % REPORT_EVERY == 0:
            click.echo(f"step {step:4} of {steps}  loss {error.item():.4f}")
    return Outcome(before, held_out_loss(pipe, kept), time.monotonic() - begun)


def save(pipe: StableDiffusionPipeline, file: Path) -> None:
    """Writes the adapter as diffusers does: fp16, its configuration in the file's metadata."""
    state = get_peft_model_state_dict(pipe.unet)
    StableDiffusionPipeline.save_lora_weights(
        file.parent,
        unet_lora_layers={name: value.half().cpu() for name, value in state.items()},
        unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict(),
        weight_name=file.name,
    )


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", default="lora.safetensors", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--base", default=BASE, type=click.Path(exists=True, path_type=Path))
@click.option("--rank", default=16, show_default=True)
@click.option("--convolutions", is_flag=True, help="Adapt the convolutions too, for new shapes.")
@click.option("--steps", default=400, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--rate", default=2e-3, show_default=True, help="The highest learning rate.")
@click.option("--seed", default=0, show_default=True)
def main(
    folder: Path,
    out: Path,
    base: Path,
    rank: int,
    convolutions: bool,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> None:
    """Train a LoRA on the captioned pictures in FOLDER; exit 1 if it learned nothing."""
    torch.manual_seed(seed)
    targets = [*LINEAR, *(CONVOLUTIONS if convolutions else ())]
    config = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets
    )
    try:
        examples = read(folder)
        pipe = pipeline(base)
        outcome = train(pipe, examples, config, steps=steps, batch=batch, rate=rate)
    except (ValueError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    save(pipe, out)
    click.echo(f"saved {out}, {out.stat().st_size / 1e6:.1f} MB, {outcome.seconds:.0f} s")
    click.echo(f"held-out loss {outcome.before:.4f} before, {outcome.after:.4f} after")
    if not outcome.learned:
        raise click.ClickException("the style was not learned: more steps, or another --rate?")


if __name__ == "__main__":
    main()
