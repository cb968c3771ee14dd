"""The queries of the alerts and of the dashboard, as far as names and labels go."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.scrape import Row

DOCKER = Path(__file__).parents[1] / "docker"
FOLDER = DOCKER / "prometheus"
DASHBOARD = DOCKER / "grafana" / "lorajobs.json"
#: What Prometheus itself puts on each series.
OWN_LABELS = frozenset({"job", "instance", "le"})
_SERIES = re.compile(r"\b(lorajobs_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")


class Series(NamedTuple):
    """A metric that a query names, with the labels that it asks for."""

    name: str
    labels: frozenset[str]


def alerts() -> list[str]:
    """The names of all alerts."""
    return re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text())


def alert_queries() -> list[str]:
    """The expression of each alert."""
    text = (FOLDER / "alerts.yml").read_text()
    found = re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n        (?:for|labels):", text)
    assert len(found) == len(alerts())
    return found


def dashboard_queries() -> list[str]:
    """Every query of every panel and variable."""
    return list(_expressions(json.loads(DASHBOARD.read_text())))


def _expressions(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _expressions(each)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from _expressions(value)


def series(query: str) -> list[Series]:
    """The metrics that one query names."""
    return [
        Series(name, frozenset(_LABEL.findall(labels or "")))
        for name, labels in _SERIES.findall(query)
    ]


def unknown(query: str, rows: Collection[Row]) -> list[str]:
    """What a query names although no process exports it."""
    known = {row.name: row for row in rows}
    faults, seen = [], set(OWN_LABELS)
    for found in series(query):
        row = known.get(found.name) or known.get(re.sub(r"_(bucket|sum|count)$", "", found.name))
        if row is None:
            faults.append(found.name)
            continue
        seen |= row.labels
        faults += [f"{found.name}{{{label}}}" for label in found.labels - row.labels - OWN_LABELS]
    grouped = {label.strip() for labels in _GROUPED.findall(query) for label in labels.split(",")}
    return faults + [f"by {label}" for label in grouped - seen]
