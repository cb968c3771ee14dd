"""Watches a denoise loop: counts its steps, keeps pace with the device, keeps the last latents."""

import math
from typing import Any

import torch
from diffusers import DiffusionPipeline

from lorajobs.engine.base import OnStep


class StepWatch:
    """diffusers' `callback_on_step_end` over all pictures of one job, alone or in batches."""

    def __init__(self, steps: int, on_step: OnStep) -> None:
        """`steps` are those of each picture; a scheduler may call its model more often."""
        self._steps = steps
        self._on_step = on_step
        self._pictures = 0
        self._previous: torch.cuda.Event | None = None
        #: those of the last step, [number, ...]
        self.latents = torch.empty(0)

    def __call__(
        self, pipe: DiffusionPipeline, index: int, _timestep: object, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """Told after each step; raises what `on_step` raises."""
        self.latents = tensors["latents"]
        self._wait_for_previous(self.latents.device)
        # The scheduler's own number has those too that an image-to-image job leaves out.
        calls = getattr(pipe, "num_timesteps", None) or len(pipe.scheduler.timesteps)
        done = math.ceil((index + 1) * self._steps / calls)
        together = len(self.latents)
        self._on_step(self._pictures * self._steps + together * done)
        if index + 1 == calls:
            self._pictures += together
        return tensors

    def _wait_for_previous(self, device: torch.device) -> None:
        # The host enqueues steps far ahead of a GPU: without this a cancel would come too late.
        if device.type != "cuda":
            return
        if self._previous is not None:
            self._previous.synchronize()
        self._previous = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._previous.record(torch.cuda.current_stream(device))
