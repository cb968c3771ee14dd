"""What the worker is measured on: a base of SDXL's architecture, adapters, jobs by Zipf."""

import gc
import hashlib
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench import sdxl
from bench.demand import name_of, zipf

#: Two bases of the same files.
BASE, OTHER = "sdxl", "other"
GUIDANCE = 5.0
#: Diffusers' own names, and Kohya's.
SPELLINGS = (sdxl.PEFT, sdxl.TRAINERS[-1])


class Scale(NamedTuple):
    """How much is measured."""

    size: sdxl.Size
    device: str
    dtype: str
    steps: int
    adapters: int
    #: the adapters' in turn
    ranks: Sequence[int]
    #: by the edge of their pictures, the first size's in full
    pixels: Sequence[int]
    #: of each burst
    jobs: int
    #: of diffusers' way, and of its best form
    theirs: int
    best: int
    #: single jobs of each kind whose way from submit to URL is timed
    times: int
    #: whether a second worker is started, which has the adapters on the disk alone
    restart: bool
    #: of the GPU's memory that a process may take, GB; 0: all
    memory_gb: float = 0


FULL = Scale(
    size=sdxl.FULL,
    device="cuda",
    dtype="float16",
    steps=25,
    adapters=20,
    ranks=(8, 16, 32, 64),
    pixels=(1024, 512),
    jobs=100,
    theirs=25,
    best=10,
    times=6,
    restart=True,
)
SMALL = Scale(
    size=sdxl.SMALL,
    device="cpu",
    dtype="float32",
    steps=2,
    adapters=4,
    ranks=(2, 4),
    pixels=(128,),
    jobs=8,
    theirs=4,
    best=4,
    times=1,
    restart=False,
)


class Wish(NamedTuple):
    """What a client asks for."""

    #: none if it is empty
    adapter: str
    pixels: int
    seed: int
    model: str = BASE

    @property
    def prompt(self) -> str:
        """No two clients ask for the same."""
        return f"a red heart on a wooden table, soft light, number {self.seed}"


class Bed:
    """The files, in one folder."""

    def __init__(self, scale: Scale, folder: Path) -> None:
        """Writes base, adapters and a `lorajobs.toml`; gives the device's memory back."""
        self.scale = scale
        self.folder = folder
        self.base = folder / "base"
        self.config = folder / "lorajobs.toml"
        self.names = [name_of(number) for number in range(scale.adapters)]
        self._seed = 0
        device, dtype = torch.device(scale.device), getattr(torch, scale.dtype)
        sdxl.save(scale.size, device, dtype, self.base)
        # Only the shapes, so nothing is made.
        bare = sdxl.pipeline(scale.size, torch.device("meta"), dtype)
        targets = sdxl.linears(bare, encoders=False)
        for number, name in enumerate(self.names):
            rank = scale.ranks[number % len(scale.ranks)]
            spelling = SPELLINGS[number % len(SPELLINGS)]
            sdxl.adapter_file(self.file(name), targets, rank, number, device, spelling)
        self.config.write_text(self._catalog())
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()

    def file(self, adapter: str) -> Path:
        """Where an adapter lies."""
        return self.folder / f"{adapter}.safetensors"

    def limit(self, gigabytes: float) -> None:
        """Lets the next workers take so much of the GPU's memory."""
        self.scale = self.scale._replace(memory_gb=gigabytes)

    def bring(self, adapter: str) -> float:
        """Seconds in which its file is copied and hashed: what no download from here saves."""
        begun, copy = time.perf_counter(), self.folder / "copy"
        shutil.copyfile(self.file(adapter), copy)
        with copy.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        copy.unlink()
        return time.perf_counter() - begun

    def wishes(self, count: int, pixels: int, seed: int = 0) -> Sequence[Wish]:
        """Jobs by Zipf(1), always the same for a seed."""
        shares = zipf(len(self.names))
        drawn = random.Random(seed).choices(self.names, shares, k=count)
        return [self.wish(name, pixels) for name in drawn]

    def wish(self, adapter: str, pixels: int, model: str = BASE) -> Wish:
        """One job; no other has its seed."""
        self._seed += 1
        return Wish(adapter, pixels, self._seed, model)

    def body(self, wish: Wish) -> dict[str, Any]:
        """The same as a request."""
        return {
            "model": wish.model,
            "prompt": wish.prompt,
            "width": wish.pixels,
            "height": wish.pixels,
            "num_inference_steps": self.scale.steps,
            "guidance_scale": GUIDANCE,
            "seed": wish.seed,
            "loras": [{"id": wish.adapter}] if wish.adapter else [],
        }

    def _catalog(self) -> str:
        tables = [
            f'[models.{base}]\npath = "{self.base}"\ndtype = "{self.scale.dtype}"\n'
            "limits = { min_size = 64 }\n"
            for base in (BASE, OTHER)
        ]
        for name in self.names:
            tables.append(f'[loras.{name}]\nsource = "{self.file(name)}"\nbase = "{BASE}"\n')
        return "\n".join(tables)
