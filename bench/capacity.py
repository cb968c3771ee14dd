"""How many A10Gs a large catalogue needs: its traffic on 1 to 5 workers, in simulated time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.comparison import OURS
from bench.demand import BASE, OTHER_BASE, Catalogue, name_of
from bench.disk import Disk
from bench.policies import FIFO, Policy
from bench.report import Goal, Part, at_most, median
from bench.simulation import A10G, Simulation, spec_of
from bench.timetable import figures

#: Jobs in 120 s, each time on 10 different adapters.
LOADS = (10, 15, 20, 30, 40, 60)
WORKERS = range(1, 6)
ADAPTER_BYTES = 24e6
DISK_SHARE = 0.2
LINK_BYTES_PER_S = 50e6
HOURS = 4.0
#: How long the disk has served the same kind of traffic before.
WARM_HOURS = 24.0
#: So many waiting jobs are a queue that nobody would keep.
MOST_WAITING = 100
#: A flat backlog grows, from the first third of the run to the last, by less of all jobs.
DRIFT = 0.01


class Cell(NamedTuple):
    """One number of workers under one load, one seed; of the large base alone."""

    flat: bool
    p95_wait_s: float
    swaps_per_job: float
    #: of both bases' jobs
    downloads_per_job: float
    overtakes: int


def simulate(policy: Policy, load: float, workers: int, seed: int, hours: float = HOURS) -> Cell:
    """Runs one; one more worker serves the other base from the same disk."""
    disk = warm_disk(load, seed)
    models = [*[BASE] * workers, OTHER_BASE]
    demand = Catalogue(load, seed)
    seen = Simulation(policy, A10G, models, disk, MOST_WAITING).run(demand.arrivals(hours))
    runs = [run for run in seen.runs if run.worker != f"worker-{workers}"]
    found = figures(runs, policy.window_s)
    return Cell(
        BASE not in seen.flooded and is_flat([waiting for _, waiting in seen.backlog[BASE]]),
        found.p95_wait_s,
        found.swaps / len(runs),
        disk.downloads / len(seen.runs),
        found.overtakes,
    )


def warm_disk(load: float, seed: int) -> Disk:
    """A disk after a day of such traffic."""
    capacity = int(Catalogue.ENTRIES * DISK_SHARE)
    disk = Disk(capacity, math.ceil(1000 * ADAPTER_BYTES / LINK_BYTES_PER_S))
    earlier = Catalogue(load, ~seed)
    for _ in range(int(WARM_HOURS * 3600 / Catalogue.SPAN_S)):
        for entry in earlier.working_set():
            disk.use(spec_of(Catalogue.base_of(entry), name_of(entry)).group)
    return disk


def is_flat(waiting: Sequence[int]) -> bool:
    """True if no more jobs wait in the last third of the run than in its first, give or take."""
    third = len(waiting) // 3
    growth = (sum(waiting[-third:]) - sum(waiting[:third])) / third
    return growth < DRIFT * len(waiting)


class Load(NamedTuple):
    """All numbers of workers under one load, each with a cell for each seed."""

    per_span: int
    ours: Mapping[int, Sequence[Cell]]
    fifo: Mapping[int, Sequence[Cell]]

    def p95(self, workers: int) -> float | None:
        """The median over the seeds; None if the backlog grows."""
        cells = self.ours[workers]
        return round(median([c.p95_wait_s for c in cells]), 1) if _flat(cells) else None

    def needed(self) -> tuple[int | None, int | None]:
        """The fewest workers with a flat backlog: ours and FIFO's; None if all are too few."""
        return _fewest(self.ours), _fewest(self.fifo)

    def cells(self) -> Sequence[str]:
        """For the table."""
        waits = [self.p95(workers) for workers in self.ours]
        shown = ["grows" if wait is None else f"{wait:.1f}" for wait in waits]
        busiest = self.ours[_fewest(self.ours) or max(self.ours)]
        rest = (
            f"{median([c.swaps_per_job for c in busiest]):.2f}",
            f"{median([c.downloads_per_job for c in busiest]):.2f}",
        )
        return (str(self.per_span), *shown, *(str(n or "more") for n in self.needed()), *rest)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        mine, fifo = self.needed()
        waits = {str(workers): self.p95(workers) for workers in self.ours}
        return {"load": self.per_span, "p95_wait_s": waits, "flat_at": mine, "fifo_flat_at": fifo}


def _seeds(policy: Policy, load: int, workers: int, seeds: int, hours: float) -> Sequence[Cell]:
    """One cell for each seed, up to the first whose backlog grows."""
    cells: list[Cell] = []
    while len(cells) < seeds and _flat(cells):
        cells.append(simulate(policy, load, workers, len(cells), hours))
    return cells


def _flat(cells: Sequence[Cell]) -> bool:
    return all(cell.flat for cell in cells)


def _fewest(tried: Mapping[int, Sequence[Cell]]) -> int | None:
    return min((workers for workers, cells in tried.items() if _flat(cells)), default=None)


def size(
    seeds: int,
    loads: Sequence[int] = LOADS,
    workers: Sequence[int] = WORKERS,
    hours: float = HOURS,
) -> tuple[Part, Sequence[Load]]:
    """Simulates every load on every number of workers."""

    def tried(policy: Policy, load: int) -> Mapping[int, Sequence[Cell]]:
        return {count: _seeds(policy, load, count, seeds, hours) for count in workers}

    found = [Load(load, tried(OURS, load), tried(FIFO, load)) for load in loads]
    title = (
        f"Simulation: {Catalogue.ENTRIES:,} adapters of {ADAPTER_BYTES / 1e6:g} MB, "
        f"{DISK_SHARE:.0%} of them on disk, {Catalogue.DISTINCT} different ones in each "
        f"{Catalogue.SPAN_S} s, 92 % on one base, A10G; p95 wait in seconds, {seeds} seeds"
    )
    columns = (
        "jobs / 120 s",
        *(f"{count} worker{'s' * (count > 1)}" for count in workers),
        *("flat at", "FIFO flat at", "swaps / job", "downloads / job"),
    )
    figures = {"seeds": seeds, "hours": hours, "loads": [load.as_dict() for load in found]}
    rows = [load.cells() for load in found]
    return Part(title, columns, rows, figures, _goals(found)), found


def _goals(found: Sequence[Load]) -> Sequence[Goal]:
    cells = [cell for load in found for tried in load.ours.values() for cell in tried]
    overtakes = sum(cell.overtakes for cell in cells)
    return [at_most("overtakes beyond the window, catalogue traffic", overtakes, 0)]
