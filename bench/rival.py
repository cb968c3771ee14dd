"""diffusers' own ways to change an adapter, timed as its documentation shows them."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from bench.report import median


class Clock:
    """Times calls on a device, first to last."""

    def __init__(self, device: torch.device, times: int) -> None:
        """`times` calls of each, after one that does not count."""
        self._device = device
        self.times = times

    def ms(self, call: Callable[[], object], times: int | None = None) -> float:
        """The median of so many calls, milliseconds."""
        call()
        return 1000 * median([self.once(call) for _ in range(times or self.times)])

    def side_by_side(
        self, first: Callable[[], object], second: Callable[[], object], call: Callable[[], object]
    ) -> tuple[float, float]:
        """Medians of a call after the one and after the other, in turns; milliseconds."""
        found: tuple[list[float], list[float]] = [], []
        for _ in range(self.times):
            for prepare, seconds in zip((first, second), found, strict=True):
                prepare()
                call()
                seconds.append(self.once(call))
        return 1000 * median(found[0]), 1000 * median(found[1])

    def once(self, call: Callable[[], object]) -> float:
        """Seconds from the call to the end of what it enqueued."""
        self.settle()
        begun = time.perf_counter()
        call()
        self.settle()
        return time.perf_counter() - begun

    def settle(self) -> None:
        """Waits for the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class Usual(NamedTuple):
    """Milliseconds of one change of adapter: the old one leaves, the new one comes."""

    load: float
    fuse: float
    unfuse: float
    unload: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def usual(
    pipe: DiffusionPipeline, source: Path | Mapping[str, torch.Tensor], clock: Clock
) -> Usual:
    """`load_lora_weights`, `fuse_lora`, `unfuse_lora`, `unload_lora_weights`, from file or RAM."""
    rounds = []

    def load() -> None:
        # It changes the state that it is given.
        pipe.load_lora_weights(str(source) if isinstance(source, Path) else dict(source))

    for _ in range(1 + clock.times):
        calls = (load, pipe.fuse_lora, pipe.unfuse_lora, pipe.unload_lora_weights)
        rounds.append([1000 * clock.once(call) for call in calls])
    return Usual(*(median(part) for part in zip(*rounds[1:], strict=True)))


def hotswap(pipe: DiffusionPipeline, files: tuple[Path, Path], clock: Clock) -> float:
    """`load_lora_weights(…, hotswap=True)` from RAM; equal rank and targets."""
    states = [load_file(file) for file in files]
    pipe.load_lora_weights(dict(states[0]), adapter_name="one")
    turn = [0]

    def swap() -> None:
        turn[0] += 1
        pipe.load_lora_weights(dict(states[turn[0] % 2]), adapter_name="one", hotswap=True)

    try:
        return clock.ms(swap)
    finally:
        pipe.unload_lora_weights()


class Resident(NamedTuple):
    """Both adapters resident in PEFT's layers."""

    switch: float
    step: float


def resident(
    pipe: DiffusionPipeline,
    files: tuple[Path, Path],
    step: Callable[[], object],
    clock: Clock,
) -> Resident:
    """`set_adapters` between two resident adapters, and a denoise step with one of them."""
    for name, file in zip(("one", "two"), files, strict=True):
        pipe.load_lora_weights(str(file), adapter_name=name)
    turn = [0]

    def switch() -> None:
        turn[0] += 1
        pipe.set_adapters(("one", "two")[turn[0] % 2])

    try:
        return Resident(clock.ms(switch), clock.ms(step))
    finally:
        pipe.unload_lora_weights()
