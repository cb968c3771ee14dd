"""The demo base, as diffusers loads it for training: float32, on the GPU if there is one."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from lorajobs.engine.libraries import hush

BASE = Path(__file__).parents[1] / "lorajobs" / "demo" / "base"


def device() -> str:
    """Where to compute."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def pipeline(folder: Path) -> StableDiffusionPipeline:
    """A Stable Diffusion from a folder of diffusers' layout."""
    hush()
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(device())
    pipe.set_progress_bar_config(disable=True)
    return pipe
