"""Several pictures of one job: one after the other and together, how fast and how alike."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from PIL import ImageChops, ImageStat
from PIL.Image import Image
from rich.console import Console

from bench.report import Part, median, show
from bench.speeds import FULL, SMALL, Bed, Bytes
from lorajobs.engine.batching import BATCHES, Batching, StepTime
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.spec import JobSpec

#: Jobs of each kind, after one that is not counted.
TIMES = 3


class Together(Batching):
    """All pictures of a job in one batch, whether it pays or not."""

    def parts(self, size: Hashable, count: int, step_s: StepTime) -> Sequence[int]:
        """One."""
        return [count]


class Row(NamedTuple):
    """Jobs of so many pictures at one size."""

    pixels: int
    pictures: int
    #: of a job, seconds: one after the other, together
    alone_s: float
    together_s: float
    #: what the engine itself chose, and measured of its steps
    chosen: Sequence[int]
    #: the most and the mean that bytes differ
    furthest: int
    mean: float

    def cells(self) -> Sequence[str]:
        """For the table."""
        times = (f"{self.alone_s:.3f}", f"{self.together_s:.3f}")
        gain = f"{self.alone_s / self.together_s:.2f}"
        chosen = "+".join(map(str, self.chosen))
        head = (str(self.pixels), str(self.pictures))
        return (*head, *times, gain, chosen, str(self.furthest), f"{self.mean:.3f}")


def measure(engine: DiffusersEngine, spec: JobSpec) -> Row:
    """Each way `TIMES` times with the same seeds."""

    def job() -> tuple[float, Sequence[Image]]:
        begun = time.perf_counter()
        made = engine.generate(spec, lambda _: None).pictures
        return time.perf_counter() - begun, [picture.image for picture in made]

    def jobs(batching: Batching) -> tuple[float, Sequence[Image]]:
        engine._batching = batching
        job()
        found = [job() for _ in range(TIMES)]
        return median([seconds for seconds, _ in found]), found[-1][1]

    alone_s, alone = jobs(Batching(allowed=False))
    together_s, together = jobs(Together(allowed=True))
    apart = _apart(alone, together)
    return Row(spec.width, spec.num_images, alone_s, together_s, _chosen(engine, job), *apart)


def _chosen(engine: DiffusersEngine, job: Callable[[], object]) -> Sequence[int]:
    """What the engine does of itself on a GPU."""
    found: list[Sequence[int]] = []

    class Noted(Batching):
        def parts(self, size: Hashable, count: int, step_s: StepTime) -> Sequence[int]:
            found.append(super().parts(size, count, step_s))
            return found[-1]

    engine._batching = Noted(allowed=True)
    job()
    return found[-1]


def _apart(some: Sequence[Image], others: Sequence[Image]) -> tuple[int, float]:
    differences = [ImageChops.difference(*pair) for pair in zip(some, others, strict=True)]
    bands = [band for one in differences for band in cast(Bytes, one.getextrema())]
    means = [mean for one in differences for mean in ImageStat.Stat(one).mean]
    return max(most for _, most in bands), sum(means) / len(means)


def part(rows: Sequence[Row]) -> Part:
    """The table."""
    return Part(
        f"Jobs of several pictures, median of {TIMES}",
        (
            *("px", "pictures", "one by one, s", "together, s", "times", "the engine chooses"),
            *("furthest byte", "mean difference"),
        ),
        [row.cells() for row in rows],
        {f"{row.pixels}_{row.pictures}": row._asdict() for row in rows},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    on_gpu = torch.cuda.is_available()
    scale = FULL if on_gpu else SMALL
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=__doc__)
    parser.add_argument("--pixels", type=int, nargs="+", default=scale.pixels)
    parser.add_argument("--pictures", type=int, nargs="+", default=sorted(BATCHES))
    args = parser.parse_args(argv)
    console = Console(width=200)
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder:
        bed = Bed(scale, torch.device("cuda" if on_gpu else "cpu"), Path(folder))
        engine = bed.engine("auto")
        engine.apply(bed.adapters[:1])
        specs = [
            bed.spec(pixels, 0).model_copy(update={"num_images": number})
            for pixels in args.pixels
            for number in args.pictures
        ]
        made = part([measure(engine, spec) for spec in specs])
    show(made, console)
    console.out(json.dumps(made.figures), highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
