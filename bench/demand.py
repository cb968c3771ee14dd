"""What clients ask for: which adapter when, drawn with a seed."""

import math
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

BASE = "demo"
OTHER_BASE = "other"


class Arrival(NamedTuple):
    """One job: when it is submitted, milliseconds from the start, its base and its adapter."""

    at_ms: int
    model: str
    adapter: str


def zipf(count: int, exponent: float = 1.0) -> Sequence[float]:
    """The shares of `count` adapters, the most popular first; they sum to 1."""
    weights = [rank**-exponent for rank in range(1, count + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def burst(jobs: int, adapters: int, seed: int) -> Sequence[Arrival]:
    """Jobs by Zipf(1), a millisecond apart, as fast as an API takes them."""
    names = _names(jobs, adapters, random.Random(seed))
    return [Arrival(at, BASE, name) for at, name in enumerate(names)]


def poisson(jobs: int, adapters: int, per_s: float, seed: int) -> Sequence[Arrival]:
    """Jobs by Zipf(1) at random times, on average `per_s` of them a second."""
    rng = random.Random(seed)
    times = accumulate(rng.expovariate(per_s) for _ in range(jobs))
    names = _names(jobs, adapters, rng)
    return [Arrival(int(at * 1000), BASE, name) for at, name in zip(times, names, strict=True)]


def _names(jobs: int, adapters: int, rng: random.Random) -> Sequence[str]:
    return rng.choices([f"lora-{i:02}" for i in range(adapters)], zipf(adapters), k=jobs)


class Catalogue:
    """Many adapters, most of one base, a few of which are asked for in any short time.

    The popularity is Zipf's with the exponent at which jobs that come at the given rate name, on
    average, `distinct` different adapters in each `span_s` seconds; uniform if even that gives fewer.
    """

    def __init__(
        self,
        per_s: float,
        seed: int,
        *,
        entries: int = 2500,
        main_share: float = 0.92,
        distinct: float = 10,
        span_s: float = 120,
    ) -> None:
        self.exponent = exponent_for(entries, per_s * span_s, distinct)
        self._per_s = per_s
        self._rng = random.Random(seed)
        self._names = [f"lora-{i:04}" for i in range(entries)]
        self._models = self._rng.choices(
            (BASE, OTHER_BASE), (main_share, 1 - main_share), k=entries
        )
        self._cumulative = list(accumulate(zipf(entries, self.exponent)))

    def draw(self) -> tuple[str, str]:
        """The base and the adapter of one job."""
        (index,) = self._rng.choices(range(len(self._names)), cum_weights=self._cumulative)
        return self._models[index], self._names[index]

    def arrivals(self, hours: float) -> Iterator[Arrival]:
        """Jobs at random times for so long."""
        at = self._rng.expovariate(self._per_s)
        while at < hours * 3600:
            yield Arrival(int(at * 1000), *self.draw())
            at += self._rng.expovariate(self._per_s)


def expected_distinct(entries: int, jobs: float, exponent: float) -> float:
    """How many different adapters a Poisson number of jobs names, on average."""
    return sum(-math.expm1(-jobs * share) for share in zipf(entries, exponent))


def exponent_for(entries: int, jobs: float, distinct: float) -> float:
    """Zipf's exponent at which `jobs` jobs name `distinct` different adapters, 0 at least."""
    low, high = 0.0, 8.0
    if expected_distinct(entries, jobs, low) <= distinct:
        return low
    while high - low > 1e-4:
        middle = (low + high) / 2
        if expected_distinct(entries, jobs, middle) > distinct:
            low = middle
        else:
            high = middle
    return high
