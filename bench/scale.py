"""Measures how far one broker goes: many workers, memory of jobs, and what one worker asks."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from bench.chart import Panel, Series, draw
from bench.commands import Server
from bench.comparison import OURS
from bench.crowd import Seen, Task, measure
from bench.footprint import footprint
from bench.one_worker import STEPS, Asked, ask, largest, nobody
from bench.policies import FIFO
from bench.report import Goal, Part, at_most, conclude, show
from bench.simulation import H200
from bench.timetable import quantile
from lorajobs.redis_client import connect
from tests.services.line import line
from tests.services.valkey import Valkey, valkey

OUT = Path("bench-out")
PICTURE = "scale.png"
#: With the most workers a job may ask the server so many times as much as with the fewest.
FLAT = 1.5


class Scale(NamedTuple):
    """How much is measured."""

    workers: Sequence[int] = (10, 100, 1000)
    adapters: int = 10_000
    waiting: int = 2000
    #: for each of the most workers
    jobs_per_worker: int = 2
    fewest_jobs: int = 1000
    processes: int = 3
    kept: int = 2000
    idle_s: float = 10.0
    real_jobs: int = 10


WHOLE = Scale()
QUICK = Scale((8,), 100, 16, 3, 40, 1, 30, 1.0, 2)


@contextmanager
def _server() -> Iterator[tuple[Valkey, Any]]:
    with (
        tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as name,
        valkey(Path(name)) as server,
    ):
        client = connect(server.url)
        yield server, client
        client.close()


class Crowded(NamedTuple):
    """So many workers under one policy."""

    workers: int
    policy: str
    seen: Seen

    @property
    def cpu_ms(self) -> float:
        """Valkey's, for one job."""
        return self.seen.load.cpu_ms / self.seen.jobs

    @property
    def commands(self) -> float:
        """Of all kinds, for one job."""
        return self.seen.load.all / self.seen.jobs

    @property
    def swaps(self) -> float:
        """For one job."""
        return sum(share.swaps for share in self.seen.shares) / self.seen.jobs

    def ms(self, share: float) -> float:
        """A quantile of the claims."""
        return quantile(self.seen.claims, share)

    def figures(self) -> Mapping[str, Any]:
        """For JSON."""
        seen, jobs = self.seen, self.seen.jobs
        return {
            "workers": self.workers,
            "policy": self.policy,
            "jobs": jobs,
            "jobs_per_s": round(jobs / seen.seconds, 1),
            "valkey_share": round(seen.load.cpu_ms / seen.seconds / 1000, 3),
            "clients_share": round(sum(s.cpu_s for s in seen.shares) / seen.seconds, 3),
            "valkey_ms_per_job": round(self.cpu_ms, 3),
            "scripts_per_core_s": round(1000 * seen.load.scripts / seen.load.cpu_ms),
            "commands_per_job": round(self.commands, 1),
            "scripts_per_job": round(seen.load.scripts / jobs, 2),
            "claim_p50_ms": round(self.ms(0.5), 2),
            "claim_p99_ms": round(self.ms(0.99), 2),
            "swaps_per_job": round(self.swaps, 3),
            "beaten": sum(s.beaten for s in seen.shares),
        }


def crowd(scale: Scale) -> tuple[Part, Sequence[Panel]]:
    """Workers by the thousand: jobs a second, what each asks, claims, swaps."""
    found = [_crowded(scale, count, OURS.name) for count in scale.workers]
    found.append(_crowded(scale, scale.workers[-1], FIFO.name))
    *ours, fifo = found
    rows = [each.figures() for each in found]
    part = Part(
        f"{scale.adapters:,} adapters by Zipf(1), a job {H200.job_ms} ms and a swap "
        f"{H200.swap_ms} ms of virtual time, {scale.waiting:,} jobs wait; "
        f"{scale.processes} client processes",
        [name.replace("_", " ") for name in rows[0]],
        [
            [f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()]
            for row in rows
        ],
        {"rows": rows},
        _crowd_goals(ours, fifo),
    )
    return part, _crowd_panels(ours, fifo)


def _crowd_panels(ours: Sequence[Crowded], fifo: Crowded) -> Sequence[Panel]:
    places = [str(each.workers) for each in ours]
    return [
        Panel(
            "Commands for one job",
            "workers",
            places,
            [Series("ours", [each.commands for each in ours])],
        ),
        Panel(
            "Claim, milliseconds (clients wait for a core too)",
            "workers",
            places,
            [
                Series(name, [each.ms(q) for each in ours])
                for name, q in (("p50", 0.5), ("p99", 0.99))
            ],
        ),
        Panel(
            f"Swaps a job, {fifo.workers} workers",
            "policy",
            [fifo.policy, ours[-1].policy],
            [Series("swaps a job", [fifo.swaps, ours[-1].swaps])],
        ),
    ]


def _crowded(scale: Scale, workers: int, policy: str) -> Crowded:
    jobs = max(scale.fewest_jobs, scale.jobs_per_worker * workers)
    with _server() as (server, client):
        every = (workers, scale.adapters, scale.waiting, workers, jobs)
        task = Task(server.url, 0, scale.processes, *every, policy)
        return Crowded(workers, policy, measure(Server(client, server.pid), task))


def _crowd_goals(ours: Sequence[Crowded], fifo: Crowded) -> Sequence[Goal]:
    growth = ours[-1].commands / ours[0].commands
    saved = ours[-1].swaps / fifo.swaps
    return [
        at_most("commands for a job, most ÷ fewest workers", round(growth, 2), FLAT),
        at_most("swaps a job, ours ÷ FIFO", round(saved, 2), 1.0),
    ]


def memory(scale: Scale) -> tuple[Part, Sequence[Panel]]:
    """Bytes of a job that waits, and of one that has ended."""
    with _server() as (server, client):
        found = footprint(client, server.pid, scale.kept)
    names = ("waiting", "ended", "without_events")
    figures = {name: round(getattr(found, name)) for name in names}
    titles = ("waiting, bytes", "ended, its first day", "ended, later")
    rows = [[f"{figures[name]:,}" for name in names]]
    title = f"Memory of one job with one adapter and one picture, mean of {found.jobs:,}"
    return Part(title, titles, rows, {"jobs": found.jobs, **figures}), ()


def worker(scale: Scale) -> tuple[Part, Sequence[Panel]]:
    """A real worker process: what it asks while idle, and for a job."""
    with (
        _server() as (server, client),
        tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as name,
        line(Path(name), LORAJOBS_REDIS_URL=server.url) as made,
    ):
        made.start_api()
        seen = Server(client, server.pid)
        without = nobody(seen, scale.idle_s)
        made.start_painter(step_s=H200.job_ms / 1000 / STEPS)
        asked = ask(made, seen, without, scale.idle_s, scale.real_jobs)
    return _worker_part(asked), ()


def _worker_part(asked: Asked) -> Part:
    idle, busy = asked.idle, asked.busy
    cells = [
        [
            what,
            f"{load.all / by:.1f}",
            f"{load.scripts / by:.1f}",
            f"{load.cpu_ms / by:.2f}",
            largest(load.calls, by),
        ]
        for what, by, load in (("idle, a second", asked.idle_s, idle), ("a job", asked.jobs, busy))
    ]
    figures = {
        "idle_commands_per_s": round(asked.idle_per_s(), 1),
        "idle_valkey_ms_per_s": round(idle.cpu_ms / asked.idle_s, 3),
        "commands_per_job": round(asked.per_job(), 1),
        "scripts_per_job": round(busy.scripts / asked.jobs, 1),
        "valkey_ms_per_job": round(busy.cpu_ms / asked.jobs, 3),
        "jobs": asked.jobs,
    }
    columns = ("one real worker", "commands", "of these scripts", "Valkey ms", "most often")
    return Part("What one worker asks of Valkey, API and Celery included", columns, cells, figures)


PARTS: Mapping[str, Callable[[Scale], tuple[Part, Sequence[Panel]]]] = {
    "crowd": crowd,
    "memory": memory,
    "worker": worker,
}


def run(names: Sequence[str], scale: Scale, out: Path, console: Console) -> Sequence[Goal]:
    """Measures these parts, prints them, draws the chart and prints the last line."""
    begun, parts, panels = time.monotonic(), dict[str, Part](), list[Panel]()
    for name in names:
        parts[name], more = PARTS[name](scale)
        panels += more
        show(parts[name], console)
    if panels:
        draw(panels, out / PICTURE)
    return conclude(parts, begun, console)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the chart")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    scale = QUICK if args.quick else WHOLE
    # Wide, or the tables would be cut to the terminal.
    goals = run(args.parts or list(PARTS), scale, args.out, Console(width=260))
    return 0 if args.quick or all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
