"""What a part of a measurement hands in: a table, figures for a program, and targets."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table


class Goal(NamedTuple):
    """A figure that was promised, beside the one that was reached."""

    what: str
    reached: float
    target: str
    met: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def at_most(what: str, reached: float, limit: float) -> Goal:
    """A goal that smaller figures reach."""
    return Goal(what, reached, f"≤ {limit:g}", reached <= limit)


def at_least(what: str, reached: float, limit: float) -> Goal:
    """A goal that larger figures reach."""
    return Goal(what, reached, f"≥ {limit:g}", reached >= limit)


class Part(NamedTuple):
    """The outcome of one part; cells of the table are texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: for the last line
    figures: Mapping[str, Any]
    goals: Sequence[Goal] = ()


def show(part: Part, console: Console) -> None:
    """Prints the part as a table that Markdown takes."""
    console.print(f"\n{part.title}\n", markup=False)
    table = Table(*part.columns, box=box.MARKDOWN)
    for row in part.rows:
        table.add_row(*row)
    console.print(table, markup=False)


def show_goals(goals: Sequence[Goal], console: Console) -> None:
    """Prints every target with what was reached."""
    rows = [(g.what, f"{g.reached:g}", g.target, "met" if g.met else "MISSED") for g in goals]
    show(Part("Targets", ("what", "reached", "target", ""), rows, {}), console)


def conclude(parts: Mapping[str, Part], begun: float, console: Console) -> Sequence[Goal]:
    """Prints the targets of all parts, then the last line: figures by part, targets, seconds.

    `begun` is by the monotonic clock.
    """
    goals = [goal for part in parts.values() for goal in part.goals]
    if goals:
        show_goals(goals, console)
    last = {
        **{name: part.figures for name, part in parts.items()},
        "targets": [goal.as_dict() for goal in goals],
        "seconds": round(time.monotonic() - begun, 1),
    }
    console.out(json.dumps(last), highlight=False)
    return goals


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and the least and the largest value unless all are equal."""
    low, middle, high = (f"{v:.{digits}f}" for v in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def median(values: Sequence[float]) -> float:
    """The middle value, the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]
