"""The bench of `bench.swap`: a base, adapters of two ranks, and our rack on it."""

import gc
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from bench import sdxl
from bench.rival import Clock
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.racks import open_rack

RANKS = (16, 64)
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")


class Scale(NamedTuple):
    """How much is measured."""

    size: sdxl.Size = sdxl.FULL
    dtype: torch.dtype = torch.float16
    times: int = 20
    #: 0: only timing, no checks
    swaps: int = 1000
    #: of diffusers' ways, which take a second each
    their_times: int = 5
    #: GB that a process may take, each in a process of its own
    limits: Sequence[int] = (16, 24)


FULL = Scale()
SMALL = Scale(sdxl.SMALL, torch.float32, times=3, swaps=50, their_times=2, limits=())


class Bed:
    """One base with two adapters of each rank; diffusers goes first, then our rack moves in."""

    def __init__(self, scale: Scale, device: torch.device, folder: Path) -> None:
        self.scale = scale
        self.device = device
        self._folder = folder
        self.clock = Clock(device, scale.times)
        self.pipe = sdxl.pipeline(scale.size, device, scale.dtype)
        #: another base with the same weights, which nothing touches
        self.twin = sdxl.pipeline(scale.size, device, scale.dtype)
        self._inputs = sdxl.step_inputs(self.pipe, scale.size)
        self.targets = sdxl.linears(self.pipe, encoders=False)
        self.files: dict[tuple[int, int], Path] = {}
        for rank in RANKS:
            for seed in (0, 1):
                path = folder / f"r{rank}-{seed}.safetensors"
                sdxl.adapter_file(path, self.targets, rank, seed, device)
                self.files[rank, seed] = path
        whole = sdxl.linears(self.pipe, encoders=True)
        self.whole = folder / "encoders.safetensors"
        sdxl.adapter_file(self.whole, whole, RANKS[0], 2, device)

    @cached_property
    def rack(self) -> InPlaceRack:
        """Ours, with room for every adapter."""
        begun = time.perf_counter()
        rack = open_rack(self.pipe, self.device, "auto", 2 << 30)
        assert isinstance(rack, InPlaceRack)
        self.clock.settle()
        # As the engine does once its base is loaded.
        gc.collect()
        gc.freeze()
        self.opened_s = time.perf_counter() - begun
        return rack

    def strange(self, rank: int, number: int) -> LocalAdapter:
        """An adapter for the same targets of a trainer that was at most seen at another rank."""
        path = self._folder / f"strange-r{rank}-{number}.safetensors"
        spelling = sdxl.TRAINERS[number]
        sdxl.adapter_file(path, self.targets, rank, number, self.device, spelling)
        return sdxl.local(path)

    def overlap(self, on: bool) -> None:
        """Lets the copies of factors overlap with the sums, or not; on a GPU."""
        from lorajobs.engine.fuse_triton import TritonFuser

        assert isinstance(self.rack.fuser, TritonFuser)
        self.rack.fuser.overlapped = on

    def local(self, rank: int, seed: int, scale: float = 0.8) -> LocalAdapter:
        """One of the adapters."""
        return sdxl.local(self.files[rank, seed], scale)

    @torch.inference_mode()
    def step(self) -> torch.Tensor:
        """One denoise step of one picture with guidance."""
        made: torch.Tensor = self.pipe.unet(**self._inputs).sample
        return made

    def turns(self, *sets: Sequence[LocalAdapter]) -> Callable[[], object]:
        """Activates one set after another."""
        turn = [0]

        def swap() -> None:
            turn[0] += 1
            self.rack.activate(sets[turn[0] % len(sets)])

        return swap
