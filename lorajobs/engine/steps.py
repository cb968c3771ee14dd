"""Watches a denoise loop: counts its steps, keeps pace with the device, checks the last latents."""

import math
from typing import Any

import torch
from diffusers import DiffusionPipeline

from lorajobs.engine.base import OnStep
from lorajobs.errors import BadPicture


class StepWatch:
    """diffusers' `callback_on_step_end` over all pictures of one job."""

    def __init__(self, steps: int, on_step: OnStep) -> None:
        """`steps` are those of each picture; a scheduler may call its model more often."""
        self._steps = steps
        self._on_step = on_step
        self._pictures = 0
        self._previous: torch.cuda.Event | None = None

    def __call__(
        self, pipe: DiffusionPipeline, index: int, _timestep: object, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """Told after each step; raises what `on_step` raises, and BadPicture for broken latents."""
        latents = tensors["latents"]
        self._wait_for_previous(latents.device)
        # The scheduler's own number has those too that an image-to-image job leaves out.
        calls = getattr(pipe, "num_timesteps", None) or len(pipe.scheduler.timesteps)
        is_last = index + 1 == calls
        if is_last and not bool(torch.isfinite(latents).all()):
            raise BadPicture("the latents are not finite (NaN or infinite)")
        done = math.ceil((index + 1) * self._steps / calls)
        self._on_step(self._pictures * self._steps + done)
        self._pictures += is_last
        return tensors

    def _wait_for_previous(self, device: torch.device) -> None:
        # The host enqueues steps far ahead of a GPU: without this a cancel would come too late.
        if device.type != "cuda":
            return
        if self._previous is not None:
            self._previous.synchronize()
        self._previous = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._previous.record(torch.cuda.current_stream(device))
