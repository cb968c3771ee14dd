"""Measures the API: submits and polls beside a bare Flask route, and clients that follow jobs."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from rich.console import Console

from bench.listening import EVENTS_PER_S, Jobs, audience
from bench.report import Goal, Part, at_least, at_most, median, show, show_goals
from bench.routes import SUBMIT, THREADS, Stand, compare, poll, stand

#: Of the polls without listeners.
LEAST_SHARE = 0.6
MOST_DELAY_MS = 250.0


class Scale(NamedTuple):
    """How much is measured."""

    rounds: int = 5
    seconds: float = 3
    listeners: int = 200
    #: progress of each job
    steps: int = 5


FULL = Scale()


class Delays(NamedTuple):
    """How late listeners heard of events, milliseconds."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, found: Sequence[float]) -> "Delays":
        """Of each event that each heard."""
        ordered = sorted(found)
        shown = (median(ordered), ordered[int(0.99 * (len(ordered) - 1))], ordered[-1])
        return cls(*(round(value, 1) for value in shown))

    def cells(self) -> Sequence[str]:
        """For a table."""
        return [f"{value:.1f}" for value in self]


def listen(there: Stand, scale: Scale) -> Part:
    """Listeners alone, polls alone, and both at the same time."""
    waiting = Jobs(there.store_url, 1, 1).ids[0]
    look = poll(waiting)
    alone = _delays(there, scale)
    polls_alone = median([there.api.rate(look, scale.seconds).per_s for _ in range(scale.rounds)])
    jobs = Jobs(there.store_url, scale.listeners, scale.steps)
    with audience(there.api.url, jobs.ids) as listeners, ThreadPoolExecutor(1) as pool:
        idle = there.api.rate(look, scale.seconds).per_s
        heard = pool.submit(listeners.delays_ms, jobs)
        rates = []
        while not heard.done():
            rates.append(there.api.rate(look, min(1.0, scale.seconds)).per_s)
        both = Delays.of(heard.result())
    polls = median(rates)
    count = scale.listeners
    return Part(
        f"{count} listeners, each to a job of its own, {EVENTS_PER_S} events/s; {THREADS} pollers",
        ("", "polls / s", "event p50, ms", "p99", "most"),
        [
            ("polls alone", f"{polls_alone:.0f}", "", "", ""),
            ("listeners without events, and polls", f"{idle:.0f}", "", "", ""),
            ("listeners alone", "", *alone.cells()),
            ("listeners and polls", f"{polls:.0f}", *both.cells()),
        ],
        {
            "listeners": count,
            "polls_per_s_alone": round(polls_alone),
            "polls_per_s_with_idle_listeners": round(idle),
            "polls_per_s_with_listeners": round(polls),
            "events_ms_alone": alone._asdict(),
            "events_ms_with_polls": both._asdict(),
        },
        [
            at_least(
                f"polls with {count} listeners that hear {EVENTS_PER_S} events/s, share of those "
                "without",
                round(polls / polls_alone, 3),
                LEAST_SHARE,
            ),
            at_most(f"p99 of {count} listeners' events, ms", round(alone.p99, 1), MOST_DELAY_MS),
        ],
    )


def _delays(there: Stand, scale: Scale) -> Delays:
    jobs = Jobs(there.store_url, scale.listeners, scale.steps)
    with audience(there.api.url, jobs.ids) as listeners:
        return Delays.of(listeners.delays_ms(jobs))


def run(scale: Scale, worker_class: str | None, console: Console) -> Sequence[Goal]:
    """Measures all, prints the tables and the last line."""
    begun = time.monotonic()
    parts = {}
    with stand(worker_class) as there:
        job_id = Jobs(there.store_url, 1, 1).ids[0]
        parts["polls"] = compare(there, poll(job_id), scale.rounds, scale.seconds)
        parts["listeners"] = listen(there, scale)
        # Last, because so many waiting jobs are no longer the same store.
        parts["submits"] = compare(there, SUBMIT, scale.rounds, scale.seconds)
    for part in parts.values():
        show(part, console)
    goals = [goal for part in parts.values() for goal in part.goals]
    show_goals(goals, console)
    last = {
        **{name: part.figures for name, part in parts.items()},
        "worker_class": worker_class or "threads",
        "targets": [goal.as_dict() for goal in goals],
        "seconds": round(time.monotonic() - begun, 1),
    }
    console.out(json.dumps(last), highlight=False)
    return goals


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.api", description=__doc__)
    parser.add_argument(
        "--worker-class", metavar="NAME", help="another one of gunicorn's, such as gevent"
    )
    args = parser.parse_args(argv)
    # Wide, or the tables would be cut to the terminal.
    goals = run(FULL, args.worker_class, Console(width=200))
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
