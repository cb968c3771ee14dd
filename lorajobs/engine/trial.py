"""A base and an adapter through the real engine: what is exact, and how long it takes."""

import hashlib
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.loading import models_of
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.random_lora import random_lora
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec, OutputFormat

PROMPT = "a red heart"
#: Looks of the engine at a sample of its own weights.
LOOKS = 32
#: Changes of the adapter that are timed.
SWAPS = 5


class TrialEngine(DiffusersEngine):
    """The engine, which lets its weights be counted."""

    @property
    def on_cuda(self) -> bool:
        """True if it computes on an NVIDIA GPU."""
        return self._device.type == "cuda"

    def made_up(self, folder: Path) -> LocalAdapter:
        """An adapter for this base, made there."""
        return random_lora(self._pipe, folder)

    def described(self) -> str:
        """Device, precision and place of the weights."""
        name = torch.cuda.get_device_name() if self.on_cuda else self._device.type
        kind = str(self._pipe.dtype).removeprefix("torch.")
        return f"{name}, {kind}, placement {self.placement()}"

    def fingerprint(self) -> str:
        """What the base's own weights hash to now, whatever adapter is in them."""
        digest = hashlib.sha256()
        for name, model in sorted(models_of(self._pipe).items()):
            digest.update(name.encode())
            _hash(model.state_dict(), digest)
        return digest.hexdigest()


def _hash(state: dict[str, Any], digest: Any) -> None:  # noqa: ANN401
    # PEFT's layers hold the base's weight one name deeper, and their own beside it.
    own = {k.replace(".base_layer", ""): v for k, v in state.items() if ".lora_" not in k}
    for name in sorted(own):
        value = own[name]
        if isinstance(value, torch.Tensor):
            digest.update(name.encode())
            flat = value.detach().contiguous().cpu().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes())


class Timing(NamedTuple):
    """One picture: seconds in all, and of a middle step."""

    pixels: bytes
    picture_s: float
    step_s: float


class Trial:
    """One engine at work; times are seconds."""

    def __init__(self, engine: TrialEngine, entry: ModelEntry) -> None:
        self.engine = engine
        self._entry = entry

    def picture(self, size: int, steps: int) -> Timing:
        """One picture of a square, with what is applied now."""
        at: list[float] = []
        begun = time.perf_counter()
        made = self.engine.generate(self._spec(size, steps), lambda _: at.append(_now()))
        (picture,) = made.pictures
        took_s = time.perf_counter() - begun
        # The first step may record or compile.
        gaps = [later - sooner for sooner, later in pairwise(at[1:])]
        return Timing(picture.image.tobytes(), took_s, median(gaps) if gaps else took_s)

    def swap_s(self, adapters: Sequence[LocalAdapter]) -> float:
        """A change to these adapters, until the device has made it."""
        begun = time.perf_counter()
        self.engine.apply(adapters)
        if self.engine.on_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    def swaps_s(self, adapter: LocalAdapter) -> Sequence[float]:
        """Several changes to and fro, from host memory; the base is bare afterwards."""
        took = []
        for _ in range(SWAPS):
            took.append(self.swap_s([adapter]))
            self.swap_s([])
        return took

    def check(self) -> None:
        """Looks at many samples of the weights.

        Raises: BaseCorrupt.
        """
        for _ in range(LOOKS):
            self.engine.check()

    def _spec(self, size: int, steps: int) -> JobSpec:
        entry = self._entry
        return JobSpec(
            model=entry.id,
            prompt=PROMPT,
            negative_prompt="",
            width=size,
            height=size,
            num_inference_steps=steps,
            guidance_scale=entry.defaults.guidance_scale,
            seed=0,
            num_images=1,
            scheduler=entry.schedulers[0] if entry.schedulers else None,
            loras=(),
            output=OutputFormat(),
            webhook=None,
            metadata={},
        )


def opened(entry: ModelEntry, settings: Settings) -> tuple[Trial, float]:
    """A loaded engine, and the seconds that it took.

    Raises: BaseLoadFailed.
    """
    begun = time.perf_counter()
    engine = TrialEngine(entry, settings)
    engine.load()
    return Trial(engine, entry), time.perf_counter() - begun


def peak_bytes() -> tuple[int, int] | None:
    """The most of the GPU's memory that was in use, and all of it; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    _, total = torch.cuda.mem_get_info()
    return torch.cuda.max_memory_reserved(), total


def _now() -> float:
    return time.perf_counter()
