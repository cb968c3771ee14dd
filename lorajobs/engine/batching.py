"""How many pictures of one job are denoised together: as many as a short measurement says pay.

A step of several pictures takes less time than as many steps of one where a picture alone leaves
the GPU idle: on an H200 with SDXL 1.4 times the pictures a second at 512 px by two, 1.1 at 1024.
"""

import inspect
import logging
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from diffusers import DiffusionPipeline

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import OnStep
from lorajobs.engine.scheduler import fresh
from lorajobs.errors import OutOfMemory
from lorajobs.spec import JobSpec

log = logging.getLogger(__name__)

#: The batches that are tried, the largest first, so that few forms of a step are recorded.
BATCHES = (8, 4, 2)
#: From so many times the pictures a second on it pays to have all of them late, and their memory.
LEAST_GAIN = 1.25
#: Sizes whose measurements are remembered.
SIZES = 256
#: Steps of a measurement: in the first a form is recorded or compiled.
STEPS = 5

#: Arguments of jobs that start from a picture.
_OF_A_SOURCE = frozenset({"image", "strength"})

#: Runs a few steps of so many pictures; seconds of one. Raises: OutOfMemory, and what ends a job.
StepTime = Callable[[int], float]


class Batching:
    """What was measured of each size, the least recently used goes first."""

    def __init__(self, *, allowed: bool) -> None:
        """Where it is not allowed every picture is made alone."""
        self._allowed = allowed
        #: pictures a second of a batch beside those of single ones; 0: there is no memory for it
        self._gains: OrderedDict[Hashable, dict[int, float]] = OrderedDict()

    def parts(self, size: Hashable, count: int, step_s: StepTime) -> Sequence[int]:
        """So many pictures in batches, the largest first; measures what is not known.

        A size is whatever decides how long a step takes. Raises: what `step_s` raises, but for
        OutOfMemory, after which this batch is not tried again.
        """
        if not self._allowed or count == 1:
            return [1] * count
        gains = self._gains.setdefault(size, {})
        self._gains.move_to_end(size)
        if len(self._gains) > SIZES:
            self._gains.popitem(last=False)
        measured = cache(step_s)
        parts: list[int] = []
        while (left := count - sum(parts)) > 0:
            fitting = (number for number in BATCHES if number <= left)
            parts.append(next((n for n in fitting if _pays(gains, n, measured)), 1))
        return parts

    def give_up(self, size: Hashable) -> bool:
        """Makes single pictures of this size from now on: memory was short; False if it did."""
        if not self._allowed:
            return False
        gains = self._gains.get(size, {})
        self._gains[size] = dict.fromkeys(BATCHES, 0.0)
        return any(gain >= LEAST_GAIN for gain in gains.values())


def _pays(gains: dict[int, float], number: int, step_s: StepTime) -> bool:
    # What a larger batch does not bring no smaller one does.
    if any(0 < gain < LEAST_GAIN for other, gain in gains.items() if other > number):
        return False
    if number not in gains:
        try:
            gains[number] = number * step_s(1) / step_s(number)
        except OutOfMemory as error:
            log.warning("no batches of %d pictures: %s", number, error.detail)
            gains[number] = 0.0
        log.info("a batch of %d makes %.2f times the pictures a second", number, gains[number])
    return gains[number] >= LEAST_GAIN


def batching_of(pipe: DiffusionPipeline, device: torch.device, entry: ModelEntry) -> Batching:
    """That of a loaded base; on a CPU, which is never idle, every picture is made alone."""
    takes_number = "num_images_per_prompt" in inspect.signature(pipe.__call__).parameters
    allowed = entry.batch == "auto" and device.type == "cuda" and takes_number
    if allowed and "vae" in pipe.components:
        pipe.vae.decode = one_by_one(pipe.vae.decode)
    return Batching(allowed=allowed)


def size_of(spec: JobSpec) -> Hashable:
    """What decides how long a step of a base takes."""
    return spec.width, spec.height, spec.guidance_scale > 1


def seeded(arguments: Mapping[str, Any], seeds: Sequence[int]) -> Mapping[str, Any]:
    """The arguments of a pipeline for pictures of these seeds: each has the noise of it alone."""
    # On the CPU, so that a seed means the same noise on every device.
    each = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    if len(each) == 1:
        return {**arguments, "generator": each[0]}
    more: dict[str, Any] = {"generator": each, "num_images_per_prompt": len(each)}
    if "image" in arguments:
        # Some pipelines would encode a single one with the first seed alone.
        more["image"] = [arguments["image"]] * len(each)
    return {**arguments, **more}


def step_time(
    pipe: DiffusionPipeline, arguments: Mapping[str, Any], number: int, on_step: OnStep
) -> float:
    """Seconds of a step of so many pictures, by the device's own clock.

    `arguments` are those of a job, whose source picture is left out; nothing is decoded. `on_step`
    is told of no progress, so that a job can be ended meanwhile. Raises: what the pipeline raises.
    """
    watch = _Watch(on_step)
    base = pipe.scheduler
    pipe.scheduler = fresh(base, None)
    try:
        asked = {name: value for name, value in arguments.items() if name not in _OF_A_SOURCE}
        asked |= {"num_inference_steps": STEPS, "output_type": "latent"}
        pipe(**seeded(asked, range(number)), callback_on_step_end=watch)
    finally:
        pipe.scheduler = base
    return watch.step_s()


class _Watch:
    """diffusers' `callback_on_step_end` that notes when the device is done with each step."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._events: list[torch.cuda.Event] = []
        #: without such events
        self._times: list[float] = []

    def __call__(
        self, pipe: DiffusionPipeline, index: int, _timestep: object, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        self._on_step(0)
        if tensors["latents"].is_cuda:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._events.append(event)
        else:
            self._times.append(time.perf_counter())
        return tensors

    def step_s(self) -> float:
        """The median without the first, in which the form is recorded."""
        if self._events:
            self._events[-1].synchronize()
            pairs = pairwise(self._events[1:])
            return float(statistics.median(a.elapsed_time(b) for a, b in pairs)) / 1000
        return statistics.median(other - one for one, other in pairwise(self._times[1:]))


def one_by_one(decode: Callable[..., Any]) -> Callable[..., Any]:
    """A VAE's `decode` that takes a batch apart, so that it needs the memory of one picture.

    Nothing is lost: a picture of 512 px keeps the GPU busy. Pictures are then decoded to the very
    bits of single ones.
    """

    def decoded(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if len(latents) == 1:
            return decode(latents, *args, **kwargs)
        found = [decode(one, *args, **kwargs) for one in torch.split(latents, 1)]
        if isinstance(found[0], tuple):
            return tuple(torch.cat(parts) for parts in zip(*found, strict=True))
        return type(found[0])(sample=torch.cat([one.sample for one in found]))

    return decoded
