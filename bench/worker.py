"""The whole stack on one machine, and beside it the usual way: speed, busy GPU, waits."""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench.chart import draw
from bench.nvidia_smi import NvidiaSmi
from bench.report import Goal, Part, show, show_goals
from bench.stack import Burst, Stack, stack, unix
from bench.worker_bed import FULL, SMALL, Bed, Scale, Wish
from bench.worker_figures import (
    Answer,
    Row,
    answers,
    between,
    goals,
    panels,
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

    def ours(self) -> None:
        """The whole stack: single jobs, bursts, then single jobs on a worker that is new."""
        pixels = self._bed.scale.pixels
        with stack(self._bed, self._out / TURNS) as running:
            starts = {"warm_s": running.start()}
            found = self._single(running)
            for size in pixels:
                self._burst(running, size)
            if self._bed.scale.restart:
                running.stop()
                starts["warm_again_s"] = running.start()
                found += self._after_start(running)
        self._add(answers(found))
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
                self._row(Row(way, size, *done, self._smi.mean(done.begin, done.end)))

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

    def _answer(self, running: Stack, need: str, adapter: str) -> Answer:
        wish = self._bed.wish(adapter, self._bed.scale.pixels[0])
        took, job = running.run(wish)
        if job["metrics"]["swapped"] == (need == "loaded"):
            raise RuntimeError(f"{need}: the adapter was changed, or was not: {job['metrics']}")
        return Answer(need, took, job)

    def _burst(self, running: Stack, size: int) -> None:
        wishes = self._bed.wishes(self._bed.scale.jobs, size)
        # So that no burst has the recording of its size in it.
        running.run(self._bed.wish(wishes[0].adapter, size))
        before = set(running.seen)
        burst = running.burst(wishes)
        needs = _needs(burst, wishes, wishes[0].adapter, before)
        running.seen |= {wish.adapter for wish in wishes}
        changed = [job["metrics"]["swap_s"] for job in burst.jobs if job["metrics"]["swapped"]]
        smi = self._smi.mean(burst.begin, burst.end)
        row = Row("ours", size, burst.begin, burst.end, burst.turns, changed, smi)
        self._row(row)
        claimed = {job["input"]["seed"]: unix(job["started_at"]) for job in burst.jobs}
        self._add(between(row, needs, claimed))

    def _row(self, row: Row) -> None:
        self.rows.append(row)
        self._say(throughput([row]))

    def _add(self, part: Part) -> None:
        self.figures |= part.figures
        self._say(part)


def _needs(
    burst: Burst, wishes: Sequence[Wish], applied: str, before: set[str]
) -> Mapping[int, str]:
    """What each job's adapter needed, by seed: in the order in which they ran."""
    adapters = {wish.seed: wish.adapter for wish in wishes}
    seen, found = set(before), {}
    for turn in burst.turns:
        adapter = adapters[turn.seed]
        needs = "host" if adapter in seen else "new"
        found[turn.seed] = "loaded" if adapter == applied else needs
        seen.add(adapter)
        applied = adapter
    return found


def run(scale: Scale, ways: Sequence[str], out: Path, console: Console) -> Sequence[Goal]:
    """Measures, prints each table when it is known, draws, prints the last line."""
    name = torch.cuda.get_device_name() if scale.device == "cuda" else "CPU"
    console.print(
        f"torch {torch.__version__}, {name}, {scale.dtype}, {scale.steps} steps with guidance, "
        f"{scale.adapters} adapters of rank {', '.join(map(str, scale.ranks))}",
        markup=False,
    )
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder, NvidiaSmi() as smi:
        measured = Measured(Bed(scale, Path(folder)), out, smi, lambda part: show(part, console))
        if "ours" in ways:
            measured.ours()
        if theirs := [way for way in ways if way != "ours"]:
            measured.theirs(theirs)
    whole = throughput(measured.rows)
    show(whole, console)
    figures = {**whole.figures, **measured.figures}
    draw(panels(figures), out / PICTURE)
    met = goals(figures, scale.pixels[0]) if scale.device == "cuda" else []
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
    args = parser.parse_args(argv)
    hush()
    warnings.filterwarnings("ignore", module=r"peft\.")
    chosen = {"jobs": args.jobs, "theirs": args.theirs, "best": args.best, "pixels": args.pixels}
    met = run(scale._replace(**chosen), args.mode, args.out, Console(width=200))
    return int(not all(goal.met for goal in met))


if __name__ == "__main__":
    sys.exit(main())
