"""The demo base's autoencoder, first of all: `python -m training.autoencoder DATA --out work/vae`.

It learns all styles, so that the latents of any adapter's pictures can be decoded: first as a
whole, then the decoder alone, which gets sharper while the latents stay as they are.
"""

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from training import diffusion
from training.captioned import read
from training.demo import device

CHANNELS = 8
RATE = 1.5e-3
#: Noise on the latents, so that a denoiser's small errors are not seen.
NOISE = 0.05
#: How much edges count beside colours, and how much large latents cost.
EDGES, SIZE = 0.5, 1e-3
SHIFT = 8


def slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours, across and down."""
    return picture.diff(dim=-1), picture.diff(dim=-2)


def error(vae: AutoencoderTiny, seen: Tensor) -> Tensor:
    """How far pictures of −1 to 1 are from what comes back."""
    with diffusion.precision():
        latents = vae.encoder(seen)
        made = vae.decoder(latents + NOISE * torch.randn_like(latents)).float()
    edges = [l1_loss(a, b) for a, b in zip(slopes(made), slopes(seen), strict=True)]
    colours = mse_loss(made, seen) + 0.5 * l1_loss(made, seen)
    total: Tensor = colours + EDGES * (edges[0] + edges[1]) + SIZE * latents.float().square().mean()
    return total


def moved(pictures: Tensor) -> Tensor:
    """Pictures shifted a little and sometimes mirrored."""
    by = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    shifted = pictures.roll(by, dims=(2, 3))
    return shifted.flip(3) if torch.rand(()) < 0.5 else shifted


def train(vae: AutoencoderTiny, data: Tensor, *, steps: int, batch: int) -> None:
    """Trains what is not frozen on bytes of pictures."""
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=1e-4)
    course = diffusion.course(optimizer, steps)
    for step in range(1, steps + 1):
        chosen = data[torch.randint(len(data), (batch,))].to(device())
        lost = error(vae, moved(diffusion.scaled(chosen)))
        diffusion.update(optimizer, parameters, lost)
        course.step()
        if step % 500 == 0 or step == steps:
            click.echo(f"step {step:5} of {steps}  loss {lost.item():.4f}")


@torch.no_grad()
def scaling(vae: AutoencoderTiny, data: Tensor) -> float:
    """What makes the latents' variance 1, as the denoiser expects."""
    vae.register_to_config(scaling_factor=1.0)
    return 1 / diffusion.latents(vae, data).std().item()


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", default="work/vae", type=click.Path(file_okay=False, path_type=Path))
@click.option("--steps", default=4000, show_default=True)
@click.option("--decoder-steps", default=3000, show_default=True)
@click.option("--batch", default=128, show_default=True)
def main(folders: Sequence[Path], out: Path, steps: int, decoder_steps: int, batch: int) -> None:
    """Train the autoencoder on the pictures of all FOLDERS."""
    torch.manual_seed(0)
    begun = time.monotonic()
    data = diffusion.pixels([one.picture for one in chain.from_iterable(map(read, folders))])
    vae = AutoencoderTiny(latent_channels=CHANNELS, scaling_factor=1.0).to(device())
    train(vae, data, steps=steps, batch=batch)
    vae.encoder.requires_grad_(False)
    train(vae, data, steps=decoder_steps, batch=batch)
    vae.register_to_config(scaling_factor=scaling(vae, data))
    vae.save_pretrained(out)
    click.echo(f"saved {out} after {len(data)} pictures, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
