"""Measures the queue: swaps and waits by policy, capacity, and the claim."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from bench import capacity, celery_burst, claims, comparison, fairness
from bench.capacity import Load
from bench.chart import Panel, Series, draw
from bench.claims import Depth
from bench.report import Goal, Part, conclude, show
from bench.simulation import A10G

OUT = Path("bench-out")
PICTURE = "queue.png"


class Scale(NamedTuple):
    """How much is measured; the counts of the full size are those of the targets."""

    seeds: int = 20
    jobs: int = comparison.JOBS
    fair_seeds: int = 5
    flood: int = fairness.FLOOD
    loads: Sequence[int] = capacity.LOADS
    workers: Sequence[int] = capacity.WORKERS
    capacity_seeds: int = 3
    hours: float = capacity.HOURS
    slowdown: float = 50
    depths: Sequence[int] = (1_000, 10_000, 100_000)
    claims: int = 2_000


FULL = Scale()


class Measured:
    """The parts so far, and what the plot shows of them."""

    def __init__(self, scale: Scale) -> None:
        self.parts: dict[str, Part] = {}
        self.panels: list[Panel] = []
        self._scale = scale

    def simulation(self) -> Part:
        """Policies in simulated time."""
        s = self._scale
        part = comparison.compare(s.seeds, s.jobs)
        self.panels += _policy_panels(part.figures["rows"])
        return part

    def fairness(self) -> Part:
        """One key's flood and other keys' single jobs."""
        return fairness.compare(self._scale.fair_seeds, self._scale.flood)

    def capacity(self) -> Part:
        """Workers for a catalogue's traffic."""
        s = self._scale
        part, loads = capacity.size(s.capacity_seeds, s.loads, s.workers, s.hours)
        self.panels.append(_capacity_panel(loads, s.workers))
        return part

    def celery(self) -> Part:
        """The burst through real processes."""
        return celery_burst.compare(self._scale.jobs, self._scale.slowdown)

    def claims(self) -> Part:
        """The claim at several depths."""
        part, depths = claims.measure(self._scale.depths, self._scale.claims)
        self.panels.append(_claims_panel(depths))
        return part


PARTS: Mapping[str, Callable[[Measured], Part]] = {
    "simulation": Measured.simulation,
    "fairness": Measured.fairness,
    "capacity": Measured.capacity,
    "celery": Measured.celery,
    "claims": Measured.claims,
}


def _policy_panels(rows: Sequence[Mapping[str, Any]]) -> Sequence[Panel]:
    """Swaps on A10Gs, and the tail of the wait where not everything comes at once."""
    arrivals = [*dict.fromkeys(row["arrival"] for row in rows)]
    costs = [*dict.fromkeys(row["costs"] for row in rows)]
    a10g = [row for row in rows if row["costs"] == A10G.name]
    load = [row for row in rows if row["arrival"] == arrivals[-1]]
    tail = f"p95 wait at {arrivals[-1]} load, seconds"
    return [
        Panel("Swaps, A10G", "arrival", arrivals, _by_policy(a10g, "swaps")),
        Panel(tail, "costs", costs, _by_policy(load, "p95_wait_s"), log=True),
    ]


def _by_policy(rows: Sequence[Mapping[str, Any]], figure: str) -> Sequence[Series]:
    values: dict[str, list[float | None]] = {}
    for row in rows:
        values.setdefault(row["policy"], []).append(row[figure])
    return [Series(policy, found) for policy, found in values.items()]


def _capacity_panel(loads: Sequence[Load], workers: Sequence[int]) -> Panel:
    series = [
        Series(f"{n} worker{'s' * (n > 1)}", [load.p95(n) for load in loads]) for n in workers
    ]
    places = [str(load.per_span) for load in loads]
    title = "p95 wait by load, seconds, A10G (no point: grows)"
    return Panel(title, "jobs in 120 s on 10 adapters", places, series, lines=True, log=True)


def _claims_panel(depths: Sequence[Depth]) -> Panel:
    series = [
        Series(title, [depth.ms(name, share) for depth in depths])
        for title, name, share in (
            ("claim p50", "claim", 0.5),
            ("claim p99", "claim", 0.99),
            ("computing p99", "work", 0.99),
            ("PING p50", "ping", 0.5),
        )
    ]
    places = [f"{depth.waiting:,}" for depth in depths]
    return Panel("Claim, milliseconds", "waiting jobs", places, series)


def run(names: Sequence[str], scale: Scale, out: Path, console: Console) -> Sequence[Goal]:
    """Measures these parts, prints them, draws the plot and prints the last line."""
    measured = Measured(scale)
    begun = time.monotonic()
    for name in names:
        part = measured.parts[name] = PARTS[name](measured)
        show(part, console)
    if measured.panels:
        draw(measured.panels, out / PICTURE)
    return conclude(measured.parts, begun, console)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the plot")
    args = parser.parse_args(argv)
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    # Wide, or the tables would be cut to the terminal.
    goals = run(args.parts or list(PARTS), FULL, args.out, Console(width=200))
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
