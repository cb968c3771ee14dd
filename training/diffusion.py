"""What training a base and training an adapter have in common."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

from training.demo import device

#: Captions left out, so that guidance has something to move away from.
WITHOUT_TEXT = 0.1
#: Timesteps are those of the schedule, 0 to 999.
TIMES = 1000


class Noised(NamedTuple):
    """What a denoiser is asked in one step: noise and times, drawn for a batch."""

    noise: Tensor
    times: Tensor

    @classmethod
    def draw(cls, latents: Tensor, generator: torch.Generator | None = None) -> "Noised":
        """Fresh noise for latents of (batch, channels, height, width)."""
        place = "cpu" if generator else latents.device
        noise = torch.randn(latents.shape, generator=generator, device=place)
        times = torch.randint(TIMES, latents.shape[:1], generator=generator, device=place)
        return cls(noise.to(latents.device), times.to(latents.device))


def precision() -> AbstractContextManager[object]:
    """bfloat16 where a GPU multiplies it faster, else none."""
    return torch.autocast(device(), dtype=torch.bfloat16, enabled=device() == "cuda")


def loss(
    unet: UNet2DConditionModel,
    schedule: DDIMScheduler,
    latents: Tensor,
    states: Tensor,
    asked: Noised,
) -> Tensor:
    """Mean squared error of the predicted velocity.

    Source: Salimans, Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022.
    """
    noisy = schedule.add_noise(latents, asked.noise, asked.times)
    target = schedule.get_velocity(latents, asked.noise, asked.times)
    with precision():
        predicted = unet(noisy, asked.times, states).sample
    return torch.nn.functional.mse_loss(predicted.float(), target)


def pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as (n, 3, height, width) of bytes."""
    stacked = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def scaled(data: Tensor) -> Tensor:
    """Bytes as the autoencoder reads them: −1 to 1."""
    return data.float() / 127.5 - 1


@torch.no_grad()
def latents(vae: AutoencoderTiny, data: Tensor) -> Tensor:
    """Bytes of pictures as latents of unit variance."""
    parts = [vae.encode(scaled(part.to(device()))).latents for part in torch.split(data, 256)]
    scale: float = vae.config.scaling_factor
    return torch.cat(parts) * scale


def tokens(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Captions as (n, 24) numbers of tokens; what is longer is cut."""
    numbers: Tensor = tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return numbers.to(device())


def course(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate over all steps: up in the first tenth, then down to nothing."""
    made: torch.optim.lr_scheduler.LambdaLR = get_cosine_schedule_with_warmup(
        optimizer, steps // 10, steps
    )
    return made


def update(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], error: Tensor) -> None:
    """One step down the gradient, which is cut to length 1."""
    optimizer.zero_grad(set_to_none=True)
    error.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
