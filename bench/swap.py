"""Measures changes of adapters: ours against diffusers', same targets, same tier, one run."""

import argparse
import json
import resource
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from rich.console import Console

from bench import rival, sdxl
from bench.chart import Panel, Series, draw
from bench.report import Goal, Part, at_least, at_most, median, show, show_goals
from bench.rival import Clock
from bench.swap_bed import COMPONENTS, FULL, RANKS, SMALL, Bed, Scale
from bench.swap_check import PRECISIONS, checked
from bench.swap_memory import limited
from bench.swap_tokens import tokens
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.fuse import BatchedFuser

OUT = Path("bench-out")
PICTURE = "swap.png"


def theirs(bed: Bed) -> Part:
    """diffusers' ways, before any weight of the base has moved."""
    clock = Clock(bed.device, bed.scale.their_times)
    rows: list[tuple[str, str, str]] = []
    figures = {"step_bare_before_ms": clock.ms(bed.step)}
    for rank in RANKS:
        files = bed.files[rank, 0], bed.files[rank, 1]
        usual = rival.usual(bed.pipe, files[0], clock)
        swap = rival.hotswap(bed.pipe, files, clock)
        kept = rival.resident(bed.pipe, files, bed.step, clock)
        parts = " + ".join(f"{ms:.0f}" for ms in usual)
        rows += [
            (f"r{rank} file: load + fuse + unfuse + unload", f"{usual.total:.0f}", parts),
            (f"r{rank} host: hotswap (same targets and rank only)", f"{swap:.0f}", ""),
            (f"r{rank} resident: set_adapters", f"{kept.switch:.1f}", f"step {kept.step:.1f}"),
        ]
        figures |= {
            f"usual_ms_r{rank}": usual.total,
            f"hotswap_ms_r{rank}": swap,
            f"set_adapters_ms_r{rank}": kept.switch,
            f"step_unfused_ms_r{rank}": kept.step,
        }
    figures["base_changed"] = 1.0 - sdxl.equal(bed.pipe, bed.twin, COMPONENTS)
    # What fuse and unfuse left behind must not be measured against.
    for name in COMPONENTS:
        getattr(bed.pipe, name).load_state_dict(getattr(bed.twin, name).state_dict())
    return Part(f"diffusers, {len(bed.targets)} linears", ("way", "ms", ""), rows, figures)


def ours(bed: Bed, theirs: Mapping[str, float]) -> Part:
    """Ours, the same targets, by tier."""
    rack, clock = bed.rack, bed.clock
    figures: dict[str, float] = {"open_s": bed.opened_s}
    goals = []
    for rank, host_limit, file_limit, least in ((16, 4.0, 40.0, 25), (64, 7.5, 90.0, 15)):
        one, two = bed.local(rank, 0), bed.local(rank, 1)
        host = clock.ms(bed.turns([one], [two]))
        bare, adapted = clock.side_by_side(bed.turns([]), bed.turns([one]), bed.step)
        restores = [_restored(bed, one) for _ in range(bed.scale.times)]
        from_file = [_from_file(bed, (one, two)[n % 2]) for n in range(bed.scale.times)]
        strange = [_from_file(bed, bed.strange(rank, n)) for n in range(len(sdxl.TRAINERS))]
        figures |= {
            f"host_ms_r{rank}": host,
            f"step_bare_ms_r{rank}": bare,
            f"step_ms_r{rank}": adapted,
            f"restore_ms_r{rank}": 1000 * median(restores),
            f"file_ms_r{rank}": 1000 * median(from_file),
            f"strange_file_ms_r{rank}": 1000 * median(strange),
        }
        figures |= _parts_of_a_swap(bed, one, two, rank)
        for way in ("file", "strange_file"):
            ratio = theirs[f"usual_ms_r{rank}"] / figures[f"{way}_ms_r{rank}"]
            figures[f"{way}_ratio_r{rank}"] = ratio
        figures[f"host_ratio_r{rank}"] = theirs[f"hotswap_ms_r{rank}"] / host
        goals += [
            at_most(f"pinned host to applied, r{rank}, ms", round(host, 2), host_limit),
            *_of_files("file", figures, rank, file_limit, least),
            *_of_files("strange_file", figures, rank, file_limit, least),
            at_most(f"restore, r{rank}, ms", round(figures[f"restore_ms_r{rank}"], 2), 2.5),
        ]
    rack.activate([])
    both = clock.ms(bed.turns([sdxl.local(bed.whole)], []), 2 * bed.scale.times)
    alone = clock.ms(bed.turns([bed.local(16, 0)], []), 2 * bed.scale.times)
    figures["encoders_add_ms"] = both - alone
    goals.append(at_most("both text encoders add, ms", round(both - alone, 2), 3.0))
    rack.activate([])
    figures["exact"] = float(sdxl.equal(bed.pipe, bed.twin, COMPONENTS))
    goals.append(at_least("base bit-exact afterwards", figures["exact"], 1))
    rows = [(name, f"{value:.2f}") for name, value in figures.items()]
    title = f"ours, the same linears, placement {rack.placement}"
    return Part(title, ("figure", ""), rows, figures, goals)


def _of_files(
    way: str, figures: Mapping[str, float], rank: int, limit: float, least: float
) -> Sequence[Goal]:
    """The targets from a file: of a trainer that was seen before, and the first of one."""
    called = {"file": "file", "strange_file": "first file of a trainer"}[way]
    ms, ratio = (round(figures[f"{way}_{kind}_r{rank}"], 1) for kind in ("ms", "ratio"))
    return (
        at_most(f"{called} to applied, r{rank}, ms", ms, limit),
        at_least(f"times diffusers, {called}, r{rank}", ratio, least),
    )


def _parts_of_a_swap(bed: Bed, one: LocalAdapter, two: LocalAdapter, rank: int) -> dict[str, float]:
    """The same swap without the overlap of copy and kernel, and by the reference."""
    rack, found = bed.rack, {}
    quick = rack.fuser
    if bed.device.type == "cuda":
        bed.overlap(False)
        found[f"serial_ms_r{rank}"] = bed.clock.ms(bed.turns([one], [two]))
        bed.overlap(True)
    rack.fuser = BatchedFuser(rack.arena)
    found[f"reference_ms_r{rank}"] = bed.clock.ms(bed.turns([one], [two]), 3)
    rack.fuser = quick
    return found


def _restored(bed: Bed, adapter: LocalAdapter) -> float:
    bed.rack.activate([adapter])
    return bed.clock.once(lambda: bed.rack.activate([]))


def _from_file(bed: Bed, adapter: LocalAdapter) -> float:
    """Seconds from a file in the page cache; another adapter is on."""
    bed.rack.forget()
    return bed.clock.once(lambda: bed.rack.activate([adapter]))


def lasting(bed: Bed) -> Part:
    """Many swaps: what stays in memory, and whether graphs and compiled code stay valid."""
    sets = [[bed.local(r, s)] for r in RANKS for s in (0, 1)]
    sets += [[bed.local(16, 0), bed.local(64, 1, -0.5)], [], [sdxl.local(bed.whole)]]
    swap = bed.turns(*sets)
    for _ in sets:
        swap()
    pointers = [p.data_ptr() for p in bed.pipe.unet.parameters()]
    before = _memory(bed.device)
    for _ in range(bed.scale.swaps):
        swap()
    grown = [after - b for after, b in zip(_memory(bed.device), before, strict=True)]
    moved = pointers != [p.data_ptr() for p in bed.pipe.unet.parameters()]
    figures = {
        "swaps": bed.scale.swaps,
        "rss_grown_mb": grown[0] / 1e6,
        "device_grown_mb": grown[1] / 1e6,
        "pointers_moved": float(moved),
    }
    goals = [
        at_most("RSS grown over the swaps, MB", round(figures["rss_grown_mb"], 1), 16),
        at_most("device memory grown, MB", round(figures["device_grown_mb"], 1), 0),
        at_most("pointers moved", float(moved), 0),
    ]
    if bed.device.type == "cuda":
        from bench.swap_graphs import graphs

        figures |= graphs(bed, sets)
        slower = figures["graph_step_ms_r16"] / figures["graph_step_bare_ms"]
        goals.append(at_most("step against the bare base, under one graph", round(slower, 4), 1.01))
        goals.append(at_most("swaps that a CUDA graph missed", figures["graph_wrong"], 0))
        goals.append(at_most("recompilations", figures["recompiled"], 0))
    rows = [(name, f"{value:g}") for name, value in figures.items()]
    return Part("Lasting", ("figure", ""), rows, figures, goals)


def _memory(device: torch.device) -> tuple[float, float]:
    """Resident bytes of the process and reserved bytes of the device."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    reserved = torch.cuda.memory_reserved(device) if device.type == "cuda" else 0
    return pages * resource.getpagesize(), reserved


def run(scale: Scale, device: torch.device, out: Path | None, console: Console) -> Sequence[Goal]:
    """Measures, prints tables, draws the plot and prints the last line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    console.print(f"torch {torch.__version__}, {name}, {scale.dtype}", markup=False)
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed(scale, device, Path(folder))
        parts: list[Part] = []

        def add(part: Part) -> None:
            show(part, console)
            parts.append(part)

        add(theirs(bed))
        add(ours(bed, parts[0].figures))
        if scale.swaps:
            add(lasting(bed))
            add(tokens(device))
            for dtype in PRECISIONS:
                add(checked(dtype, device))
        for limit in scale.limits:
            add(limited(limit, bed.files[16, 0]))
    figures = {name: value for part in parts for name, value in part.figures.items()}
    if out:
        draw(_panels(figures), out / PICTURE)
    goals = [goal for part in parts for goal in part.goals]
    show_goals(goals, console)
    rounded = {name: round(v, 4) if isinstance(v, float) else v for name, v in figures.items()}
    last = rounded | {"targets": [goal.as_dict() for goal in goals]}
    console.out(json.dumps(last), highlight=False)
    return goals


def _panels(figures: Mapping[str, Any]) -> Sequence[Panel]:
    places = [f"rank {rank}" for rank in RANKS]

    def series(title: str, name: str) -> Series:
        return Series(title, [figures[f"{name}_r{rank}"] for rank in RANKS])

    files = [
        series("diffusers", "usual_ms"),
        series("ours, first of a trainer", "strange_file_ms"),
        series("ours", "file_ms"),
    ]
    hosts = [series("hotswap", "hotswap_ms"), series("ours", "host_ms")]
    return [
        Panel("From a file in page cache, ms", "", places, files, log=True),
        Panel("From host memory, ms", "", places, hosts, log=True),
    ]


def _hush() -> None:
    """Silences what the libraries say of every load."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
    warnings.filterwarnings("ignore", module=r"peft\.")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed on a GPU. The targets are those of one H200."""
    parser = argparse.ArgumentParser(prog="python -m bench.swap", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="only what takes how long")
    parser.add_argument("--plot", action="store_true", help=f"draw {PICTURE}")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the plot")
    args = parser.parse_args(argv)
    _hush()
    device = torch.device(args.device)
    scale = SMALL if device.type == "cpu" else FULL
    if args.quick:
        scale = scale._replace(swaps=0, limits=(), their_times=2)
    goals = run(scale, device, args.out if args.plot else None, Console(width=200))
    return int(device.type != "cpu" and not all(goal.met for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
