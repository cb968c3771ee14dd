"""What a picture takes on the engine: eager, with recorded steps, with compiled code."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from PIL import ImageChops
from PIL.Image import Image
from rich.console import Console

from bench import sdxl
from bench.report import Goal, Part, at_most, median, show, show_goals
from bench.stopwatch import Stopwatch
from lorajobs.catalog import ModelEntry
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec
from tests.jobs import a_spec

#: From the first step to the decoded picture at 1024 px, 25 steps with guidance, on one H200.
MOST_S = {"auto": 1.18, "full": 1.0}
RANKS = (16, 32, 64)
#: the least and the most of each colour
Bytes = tuple[tuple[int, int], ...]


class Scale(NamedTuple):
    """How much is measured."""

    size: sdxl.Size
    dtype: str
    pixels: Sequence[int]
    steps: int
    times: int


FULL = Scale(sdxl.FULL, "float16", (1024, 512), 25, 10)
SMALL = Scale(sdxl.SMALL, "float32", (128, 64), 3, 1)


class Made(NamedTuple):
    """A picture and when it was made, seconds."""

    image: Image
    #: from the call to the picture in memory, and from the first step's begin to the decode's end
    whole: float
    denoised: float


class Row(NamedTuple):
    """One way at one size; seconds."""

    speed: str
    pixels: int
    first: float
    whole: float
    denoised: float
    gigabytes: float
    #: the most that a byte of a picture differs from that of the first way
    furthest: int

    def cells(self) -> Sequence[str]:
        """For the table."""
        times = (f"{value:.3f}" for value in (self.first, self.whole, self.denoised))
        return (self.speed, str(self.pixels), *times, f"{self.gigabytes:.1f}", str(self.furthest))


class Bed:
    """A saved base and adapters of several ranks."""

    def __init__(
        self, scale: Scale, device: torch.device, folder: Path, data_dir: Path | None = None
    ) -> None:
        """`data_dir` keeps compiled code for the next call; without it, it goes with the folder."""
        self.scale = scale
        self.device = device
        self.base = folder / "base"
        sdxl.save(scale.size, device, getattr(torch, scale.dtype), self.base)
        pipe = sdxl.pipeline(scale.size, device, getattr(torch, scale.dtype))
        targets = sdxl.linears(pipe, encoders=True)
        self.adapters: list[LocalAdapter] = []
        for rank in RANKS:
            path = sdxl.adapter_file(folder / f"r{rank}.safetensors", targets, rank, rank, device)
            self.adapters.append(sdxl.local(path))
        self.settings = Settings(data_dir=data_dir or folder, device=device.type)

    def engine(self, speed: str) -> DiffusersEngine:
        """The real one, loaded."""
        entry = ModelEntry(id="sdxl", path=self.base, dtype=self.scale.dtype, speed=speed)
        engine = DiffusersEngine(entry, self.settings)
        engine.load()
        return engine

    def spec(self, pixels: int, seed: int) -> JobSpec:
        """A job at this size."""
        return a_spec(
            model="sdxl",
            width=pixels,
            height=pixels,
            num_inference_steps=self.scale.steps,
            guidance_scale=5.0,
            seed=seed,
        )


def picture(engine: DiffusersEngine, spec: JobSpec, watch: Stopwatch) -> Made:
    """Makes one, under a stopwatch that was put on the engine's pipeline."""
    begun = time.perf_counter()
    pictures = engine.generate(spec, lambda _: None).pictures
    ended = time.perf_counter()
    turn = watch.turn(spec.seed)()
    first = min(span.begin for span in turn.spans if span.kind == "denoise")
    return Made(pictures[0].image, ended - begun, turn.end - first)


def measure(bed: Bed, speeds: Sequence[str], say: Callable[[str], object]) -> Sequence[Row]:
    """Each way at each size; the pictures of the first are what the others must be."""
    rows: list[Row] = []
    eager: dict[tuple[int, int], Image] = {}
    for speed in speeds:
        begun = time.perf_counter()
        engine = bed.engine(speed)
        watch = Stopwatch(engine._pipe, bed.device)
        say(f"{speed}: loaded in {time.perf_counter() - begun:.1f} s")
        for pixels in bed.scale.pixels:
            rows.append(_row(bed, engine, watch, speed, pixels, eager))
            say(" ".join(rows[-1].cells()))
        engine.close()
        del engine
    return rows


def _row(
    bed: Bed,
    engine: DiffusersEngine,
    watch: Stopwatch,
    speed: str,
    pixels: int,
    eager: dict[tuple[int, int], Image],
) -> Row:
    on_gpu = bed.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    engine.apply([])
    first = picture(engine, bed.spec(pixels, 0), watch).whole
    found, furthest = [], 0
    # One recording must serve them all.
    sets: list[list[LocalAdapter]] = [[], *([adapter] for adapter in bed.adapters)]
    for number in range(bed.scale.times):
        engine.apply(sets[number % len(sets)])
        made = picture(engine, bed.spec(pixels, number), watch)
        found.append(made)
        apart = ImageChops.difference(made.image, eager.setdefault((pixels, number), made.image))
        furthest = max(furthest, *(most for _, most in cast(Bytes, apart.getextrema())))
    gigabytes = torch.cuda.max_memory_reserved() / 1e9 if on_gpu else 0.0
    whole, denoised = (median([m.whole for m in found]), median([m.denoised for m in found]))
    return Row(speed, pixels, first, whole, denoised, gigabytes, furthest)


def part(bed: Bed, rows: Sequence[Row]) -> Part:
    """The table."""
    figures = {f"{row.speed}_{row.pixels}": row._asdict() for row in rows}
    most = max(bed.scale.pixels)
    goals: list[Goal] = []
    for row in rows if bed.scale.size is FULL.size else ():
        if row.pixels == most and row.speed in MOST_S:
            what = f"{row.speed}: first step to decoded picture, {most} px, s"
            goals.append(at_most(what, round(row.denoised, 3), MOST_S[row.speed]))
        if row.speed == "auto":
            what = f"auto: furthest byte from the eager picture, {row.pixels} px"
            goals.append(at_most(what, row.furthest, 0))
    return Part(
        f"One picture on the engine, {bed.scale.steps} steps with guidance, the adapter changed "
        f"before each; {bed.scale.times} pictures",
        ("speed", "px", "first, s", "whole, s", "first step to picture, s", "GB", "furthest byte"),
        [row.cells() for row in rows],
        figures,
        goals,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.speeds", description=__doc__)
    parser.add_argument("--speeds", nargs="+", default=["eager", "auto"], metavar="SPEED")
    parser.add_argument("--pixels", nargs="+", type=int, help="edges of the pictures")
    parser.add_argument("--data-dir", type=Path, help="where compiled code stays for another call")
    args = parser.parse_args(argv)
    on_gpu = torch.cuda.is_available()
    console = Console(width=200)
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder:
        device = torch.device("cuda" if on_gpu else "cpu")
        scale = FULL if on_gpu else SMALL
        scale = scale._replace(pixels=args.pixels or scale.pixels)
        bed = Bed(scale, device, Path(folder), args.data_dir)
        made = part(bed, measure(bed, args.speeds, console.print))
    show(made, console)
    show_goals(made.goals, console)
    last: dict[str, Any] = {**made.figures, "targets": [goal.as_dict() for goal in made.goals]}
    console.out(json.dumps(last), highlight=False)
    return 0 if all(goal.met for goal in made.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
