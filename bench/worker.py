"""The whole stack on one machine, and beside it the usual way: speed, busy GPU, waits."""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.chart import draw
from bench.nvidia_smi import NvidiaSmi
from bench.report import Goal, Part, show, show_goals
from bench.stack import Burst, Stack, stack, unix
from bench.worker_bed import BASE, FULL, OTHER, SMALL, Bed, Scale, Wish
from bench.worker_figures import (
    Answer,
    Row,
    answers,
    between,
    goals,
    panels,
    scaling,
    throughput,
)
from lorajobs.engine.libraries import hush
from lorajobs.settings import Settings
from lorajobs.spec import OutputFormat
from lorajobs.storage import open_store

OUT = Path("bench-out")
PICTURE, TURNS = "worker.png", "turns.jsonl"
#: By their names on the command line, in their order.
WAYS = ("ours", "usual", "best")
_PNG, _JPEG = OutputFormat(), OutputFormat(format="jpeg")


class Measured:
    """The ways that were measured so far."""

    def __init__(self, bed: Bed, out: Path, smi: NvidiaSmi, say: Callable[[Part], None]) -> None:
        """`say` hears each table as soon as it is known."""
        self._bed = bed
        self._out = out
        self._smi = smi
        self._say = say
        self.rows: list[Row] = []
        self.figures: dict[str, Any] = {}
        self.goals: list[Goal] = []

    def ours(self, *, single: bool, limits: Sequence[float]) -> None:
        """The whole stack: single jobs, bursts, then single jobs on a worker that is new.

        Then the same bursts by workers that may take so many GB of their GPU's memory.
        """
        found: list[Answer] = []
        with stack(self._bed, self._out / TURNS) as running:
            starts = {"warm_s": running.start()}
            if single:
                found += self._single(running)
            for size in self._bed.scale.pixels:
                self._burst(running, size)
            if single and self._bed.scale.restart:
                running.stop()
                starts["warm_again_s"] = running.start()
                found += self._after_start(running)
                running.stop()
                starts["warm_two_bases_s"] = running.start(bases=(BASE, OTHER))
                found += self._of_two_bases(running)
            for limit in limits:
                running.stop()
                self._bed.limit(limit)
                starts[f"warm_{limit:g}gb_s"] = running.start()
                for size in self._bed.scale.pixels:
                    self._burst(running, size)
        if found:
            self._add(answers(found, self._bed.bring))
        self._started(starts)

    def on_gpus(self, counts: Sequence[int]) -> None:
        """The same bursts by one worker on each of so many GPUs, one number after the other."""
        starts, rows = {}, list[Row]()
        with stack(self._bed, self._out / TURNS) as running:
            for count in counts:
                starts[f"warm_{count}_s"] = running.start(count)
                for size in self._bed.scale.pixels:
                    # So that no burst has the recording of its size in it.
                    running.warm_up(self._bed.wish(name, size) for name in cycle(self._bed.names))
                    wishes = self._bed.wishes(self._bed.scale.jobs, size)
                    rows.append(self._ours(running, size, running.burst(wishes)))
                running.stop()
        self._started(starts)
        self._add(scaling(rows))

    def _started(self, starts: Mapping[str, float]) -> None:
        self.figures["starts"] = {name: round(seconds, 2) for name, seconds in starts.items()}
        rows = [(name, f"{seconds:.1f}") for name, seconds in starts.items()]
        self._say(Part("From a worker's start until its base is warm", ("", "s"), rows, {}))

    def theirs(self, ways: Sequence[str]) -> None:
        """The usual way; its best form has JPEG, and encodes and uploads in threads."""
        from bench.usual_way import UsualWay

        scale = self._bed.scale
        settings = Settings(data_dir=self._bed.folder / "usual")
        served = UsualWay(self._bed, open_store(settings))
        for number, size in enumerate(scale.pixels):
            for way in ways:
                count = scale.theirs if way == "usual" and not number else scale.best
                wishes = self._bed.wishes(scale.jobs, size)[:count]
                output = _PNG if way == "usual" else _JPEG
                done = served.serve(wishes, output, threaded=way == "best")
                smi = self._smi.mean(done.begin, done.end)
                self._row(Row(way, size, done.begin, done.end, [done.turns], done.swaps, smi))

    def _single(self, running: Stack) -> list[Answer]:
        names, times = self._bed.names, self._bed.scale.times
        new, old = names[1 : times + 1], names[:times]
        found = [self._answer(running, "first of a worker", names[0])]
        found += [self._answer(running, "unseen", name) for name in new]
        # In turns, because a picture's own bytes decide how long it takes to encode.
        return found + [
            self._answer(running, need, name) for name in old for need in ("host", "loaded")
        ]

    def _after_start(self, running: Stack) -> list[Answer]:
        names, times = self._bed.names, self._bed.scale.times
        found = [self._answer(running, "first of the next", names[0])]
        return found + [self._answer(running, "disk", name) for name in names[1 : times + 1]]

    def _of_two_bases(self, running: Stack) -> list[Answer]:
        # So that only the other base's first job has a recording in it.
        self._answer(running, "base", "")
        turns = [BASE, OTHER] * (self._bed.scale.times // 2)
        return [
            self._answer(running, "base cold", "", OTHER),
            *(self._answer(running, "base parked", "", base) for base in turns),
        ]

    def _answer(self, running: Stack, need: str, adapter: str, base: str = BASE) -> Answer:
        wish = self._bed.wish(adapter, self._bed.scale.pixels[0], base)
        claimed, took, job = running.run(wish)
        is_same = need == "loaded" or not adapter
        if job["metrics"]["swapped"] == is_same:
            raise RuntimeError(f"{need}: the adapter was changed, or was not: {job['metrics']}")
        return Answer(need, claimed, took, job)

    def _burst(self, running: Stack, size: int) -> None:
        wishes = self._bed.wishes(self._bed.scale.jobs, size)
        # So that no burst has the recording of its size in it.
        running.run(self._bed.wish(wishes[0].adapter, size))
        before = set(running.seen)
        burst = running.burst(wishes)
        needs = _needs(burst, wishes, wishes[0].adapter, before)
        running.seen |= {wish.adapter for wish in wishes}
        row = self._ours(running, size, burst)
        claimed = {job["input"]["seed"]: unix(job["started_at"]) for job in burst.jobs}
        self._add(between(row, needs, claimed))

    def _ours(self, running: Stack, size: int, burst: Burst) -> Row:
        changed = [job["metrics"]["swap_s"] for job in burst.jobs if job["metrics"]["swapped"]]
        smi = self._smi.mean(burst.begin, burst.end, len(burst.lanes))
        row = Row(
            *("ours", size, burst.begin, burst.end, burst.lanes, changed, smi),
            placement=running.placement,
            limit_gb=self._bed.scale.memory_gb,
        )
        self._row(row)
        return row

    def _row(self, row: Row) -> None:
        self.rows.append(row)
        self._say(throughput([row]))

    def _add(self, part: Part) -> None:
        self.figures |= part.figures
        self.goals += part.goals
        self._say(part)


def _needs(
    burst: Burst, wishes: Sequence[Wish], applied: str, before: set[str]
) -> Mapping[int, str]:
    """What each job's adapter needed, by seed: in the order in which they ran."""
    adapters = {wish.seed: wish.adapter for wish in wishes}
    seen, found = set(before), {}
    for turn in burst.lanes[0]:
        adapter = adapters[turn.seed]
        needs = "host" if adapter in seen else "new"
        found[turn.seed] = "loaded" if adapter == applied else needs
        seen.add(adapter)
        applied = adapter
    return found


def run(
    scale: Scale,
    ways: Sequence[str],
    out: Path,
    console: Console,
    *,
    single: bool = True,
    gpus: Sequence[int] = (),
    limits: Sequence[float] = (),
) -> Sequence[Goal]:
    """Measures, prints each table when it is known, draws, prints the last line.

    With `gpus`, numbers of them, ours are bursts on so many GPUs; else `single` jobs come too, and
    bursts within so many GB of the GPU's memory.
    """
    name = torch.cuda.get_device_name() if scale.device == "cuda" else "CPU"
    console.print(
        f"torch {torch.__version__}, {name}, {scale.dtype}, {scale.steps} steps with guidance, "
        f"{scale.adapters} adapters of rank {', '.join(map(str, scale.ranks))}",
        markup=False,
    )
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder, NvidiaSmi() as smi:
        measured = Measured(Bed(scale, Path(folder)), out, smi, lambda part: show(part, console))
        if "ours" in ways and gpus:
            measured.on_gpus(gpus)
        elif "ours" in ways:
            measured.ours(single=single, limits=limits)
        if theirs := [way for way in ways if way != "ours"]:
            measured.theirs(theirs)
    whole = throughput(measured.rows)
    show(whole, console)
    figures = {**whole.figures, **measured.figures}
    draw(panels(figures), out / PICTURE)
    on_gpu = scale.device == "cuda"
    met = [*goals(figures, scale.pixels[0]), *measured.goals] if on_gpu else []
    show_goals(met, console)
    last = {**figures, "targets": [goal.as_dict() for goal in met]}
    console.out(json.dumps(last), highlight=False)
    return met


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed on a GPU. The targets are those of one H200."""
    scale = FULL if torch.cuda.is_available() else SMALL
    parser = argparse.ArgumentParser(prog="python -m bench.worker", description=__doc__)
    parser.add_argument("--mode", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--jobs", type=int, default=scale.jobs, help="of each burst")
    parser.add_argument("--theirs", type=int, default=scale.theirs, help="of the usual way")
    parser.add_argument("--best", type=int, default=scale.best, help="of its other bursts")
    parser.add_argument("--pixels", type=int, nargs="+", default=scale.pixels)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the picture")
    parser.add_argument("--no-single", action="store_true", help="leave out the single jobs")
    parser.add_argument(
        "--gpus",
        type=int,
        nargs="+",
        default=(),
        help="bursts alone, by a worker on each of so many GPUs, for each of these numbers",
    )
    parser.add_argument(
        "--memory-gb",
        type=float,
        nargs="+",
        default=(),
        help="also bursts by a worker that may take so much of the GPU's memory, for each of these",
    )
    args = parser.parse_args(argv)
    if args.memory_gb and not torch.cuda.is_available():
        parser.error("--memory-gb: there is no GPU whose memory could be limited")
    hush()
    warnings.filterwarnings("ignore", module=r"peft\.")
    fields = ("jobs", "theirs", "best", "pixels")
    chosen = scale._replace(**{name: getattr(args, name) for name in fields})
    single = not args.no_single
    console = Console(width=240)
    more = {"gpus": args.gpus, "limits": args.memory_gb}
    met = run(chosen, args.mode, args.out, console, single=single, **more)
    return int(not all(goal.met for goal in met))


if __name__ == "__main__":
    sys.exit(main())
