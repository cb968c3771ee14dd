"""Which adapters a disk should let go: the tier's rule beside LRU, on the catalogue's traffic.

`python -m bench.eviction` prints a table; its last line is JSON.
"""

import json
import math
import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import click
from rich.console import Console

from bench.capacity import DISK_SHARE, WARM_HOURS
from bench.demand import Catalogue
from bench.report import Part, median, show
from lorajobs.adapters.tier import Tier

HOURS = 4.0
_PER_S = 50e6


class Adapter(NamedTuple):
    """Bytes, and seconds to fetch them."""

    size: int
    cost: float


class Shelf(Protocol):
    """A disk of limited size."""

    def use(self, entry: int, adapter: Adapter) -> bool:
        """Uses an adapter; False if it had to be fetched."""


class Ours:
    """The tier as it is."""

    def __init__(self, budget: int) -> None:
        self._tier = Tier(budget)

    def use(self, entry: int, adapter: Adapter) -> bool:
        """Uses an adapter; False if it had to be fetched."""
        here = str(entry) in self._tier
        self._tier.admit(str(entry), *adapter)
        return here


class Lru:
    """The least recently used one goes, whatever its size."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._sizes: OrderedDict[int, int] = OrderedDict()

    def use(self, entry: int, adapter: Adapter) -> bool:
        """Uses an adapter; False if it had to be fetched."""
        here = entry in self._sizes
        self._sizes[entry] = adapter.size
        self._sizes.move_to_end(entry)
        used = 0 if here else sum(self._sizes.values())
        while used > self._budget:
            used -= self._sizes.popitem(last=False)[1]
        return here


def equal(entries: int) -> Sequence[Adapter]:
    """All of one size, from one source."""
    return [Adapter(24_000_000, 24e6 / _PER_S)] * entries


def mixed(entries: int) -> Sequence[Adapter]:
    """2 MB to 2 GB, around 40 MB; one source that takes 0.3 s to answer."""
    return [Adapter(size, 0.3 + size / _PER_S) for size in _sizes(entries)]


def two_sources(entries: int) -> Sequence[Adapter]:
    """The same sizes, half of them from a store nearby and half from far away."""
    near = random.Random(1)
    return [
        Adapter(size, 0.05 + size / 500e6 if near.random() < 0.5 else 0.5 + size / 20e6)
        for size in _sizes(entries)
    ]


def _sizes(entries: int) -> Iterator[int]:
    rng = random.Random(0)
    for _ in range(entries):
        yield int(min(2e9, max(2e6, rng.lognormvariate(math.log(40e6), 1.2))))


KINDS = {"equal sizes": equal, "mixed sizes": mixed, "mixed, two sources": two_sources}
RULES: Mapping[str, type[Ours | Lru]] = {"lru": Lru, "ours": Ours}


def replay(shelf: Shelf, adapters: Sequence[Adapter], seed: int, hours: float) -> tuple[float, ...]:
    """The share of uses that had to be fetched, and the seconds of fetching per use."""
    demand = Catalogue(1, seed)
    warm = int(WARM_HOURS * 3600 / Catalogue.SPAN_S)
    uses, misses, seconds = 0, 0, 0.0
    for span in range(warm + int(hours * 3600 / Catalogue.SPAN_S)):
        for entry in demand.working_set():
            here = shelf.use(entry, adapters[entry])
            if span >= warm:
                uses += 1
                misses += not here
                seconds += 0 if here else adapters[entry].cost
    return misses / uses, seconds / uses


def compare(seeds: int, hours: float = HOURS) -> Part:
    """Both rules on each kind of catalogue, the median over the seeds."""
    rows, figures = [], {}
    for kind, make in KINDS.items():
        adapters = make(Catalogue.ENTRIES)
        budget = int(DISK_SHARE * sum(adapter.size for adapter in adapters))
        found = {}
        for name, rule in RULES.items():
            each = [replay(rule(budget), adapters, seed, hours) for seed in range(seeds)]
            found[name] = [round(median(column), 4) for column in zip(*each, strict=True)]
        rows.append((kind, *(f"{value:.3f}" for rule in found.values() for value in rule)))
        figures[kind] = found
    title = f"{DISK_SHARE:.0%} of {Catalogue.ENTRIES:,} adapters' bytes on disk, {seeds} seeds"
    columns = ("adapters", "LRU: misses", "s / use", "ours: misses", "s / use")
    return Part(title, columns, rows, figures)


@click.command()
@click.option("--seeds", default=5, help="Seeds of the traffic.")
def main(seeds: int) -> None:
    """Compare what a disk lets go."""
    part = compare(seeds)
    show(part, Console(width=120))
    print(json.dumps(part.figures))


if __name__ == "__main__":
    main()
