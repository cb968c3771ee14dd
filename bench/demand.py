"""What clients ask for: which adapter when, drawn with a seed."""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

BASE = "demo"
OTHER_BASE = "other"


class Arrival(NamedTuple):
    """One job: when it is submitted, milliseconds from the start, its base, adapter and API key."""

    at_ms: int
    model: str
    adapter: str
    owner: str = ""


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


def flood(jobs: int, adapters: int, guests: int, every_ms: int, seed: int) -> Sequence[Arrival]:
    """A burst of one key, and one job of each of other keys later, at random moments."""
    rng = random.Random(seed)
    burst_of_one = [
        Arrival(at, BASE, name, "host") for at, name in enumerate(_names(jobs, adapters, rng))
    ]
    names = _names(guests, adapters, rng)
    late = [
        Arrival(jobs + int((n + rng.random()) * every_ms), BASE, name, f"guest-{n}")
        for n, name in enumerate(names, start=1)
    ]
    return [*burst_of_one, *late]


def _names(jobs: int, adapters: int, rng: random.Random) -> Sequence[str]:
    return rng.choices([name_of(i) for i in range(adapters)], zipf(adapters), k=jobs)


class Catalogue:
    """Traffic on many adapters, of which any short time sees only a few.

    Each span of `SPAN_S` seconds has a working set of its own, drawn by Zipf(1) from all entries.
    Its jobs name each of the set once, as far as they are enough, and then again by Zipf(1).
    """

    ENTRIES = 2500
    DISTINCT = 10
    SPAN_S = 120

    def __init__(self, jobs_per_span: float, seed: int) -> None:
        self._jobs = jobs_per_span
        self._rng = random.Random(seed)
        self._popularity = list(accumulate(zipf(self.ENTRIES)))
        self._shares = zipf(self.DISTINCT)

    def working_set(self) -> Sequence[int]:
        """Different entries, the most asked for first."""
        chosen: dict[int, None] = {}
        while len(chosen) < self.DISTINCT:
            (entry,) = self._rng.choices(range(self.ENTRIES), cum_weights=self._popularity)
            chosen[entry] = None
        return list(chosen)

    def arrivals(self, hours: float) -> Iterator[Arrival]:
        """Jobs at random times for so long."""
        for span in range(int(hours * 3600 / self.SPAN_S)):
            yield from sorted(self._span(span * self.SPAN_S))

    def _span(self, from_s: float) -> Iterator[Arrival]:
        entries = self.working_set()
        named = self._rng.sample(entries, len(entries))
        for number, at_s in enumerate(self._times()):
            again = number >= len(named)
            entry = self._rng.choices(entries, self._shares)[0] if again else named[number]
            yield Arrival(int((from_s + at_s) * 1000), self.base_of(entry), name_of(entry))

    def _times(self) -> Sequence[float]:
        """Moments of one span, in no order."""
        count, at = 0, self._rng.expovariate(self._jobs)
        while at < 1:
            count, at = count + 1, at + self._rng.expovariate(self._jobs)
        return [self._rng.random() * self.SPAN_S for _ in range(count)]

    @staticmethod
    def base_of(entry: int) -> str:
        """92 in 100 entries are of one base, and about as many of the jobs."""
        return OTHER_BASE if entry % 25 in (3, 15) else BASE


def name_of(entry: int) -> str:
    """The adapter's name."""
    return f"lora-{entry:04}"
