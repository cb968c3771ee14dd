"""Metrics as a scraper reads them, and as docs/operations.md lists them."""

import re
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

DOCUMENT = Path(__file__).parents[1] / "docs" / "operations.md"


class Row(NamedTuple):
    """One metric: its name and type, and the names of its labels."""

    name: str
    kind: str
    labels: frozenset[str]


class Scrape:
    """One answer in Prometheus' text format."""

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    @classmethod
    def of(cls, registry: CollectorRegistry) -> "Scrape":
        """What a registry would answer now."""
        return cls(generate_latest(registry).decode())

    def value(self, sample: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels, of which there are some."""
        found = [
            s.value
            for family in self._families
            for s in family.samples
            if s.name == sample and labels.items() <= s.labels.items()
        ]
        assert found, f"no {sample} with {labels}"
        return sum(found)

    def rows(self) -> set[Row]:
        """Every metric that has a sample."""
        return {
            Row(
                family.name + "_total" * (family.type == "counter"),
                family.type,
                frozenset(family.samples[0].labels) - {"le"},
            )
            for family in self._families
            if family.samples
        }


def documented(heading: str) -> set[Row]:
    """The table below one heading of the document."""
    text = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| [^|]+ \|$", text, re.MULTILINE)
    return {Row(n, kind, frozenset(re.findall(r"`(\w+)`", labels))) for n, kind, labels in rows}
