"""The comparison of eviction rules runs the rules that it names."""

from collections.abc import Callable

import pytest

from bench.eviction import Adapter, Lru, Ours, compare, equal, replay

SMALL = Adapter(10, 1.0)


@pytest.mark.parametrize("make", [Lru, Ours])
def test_a_shelf_keeps_its_budget(make: Callable[[int], Lru | Ours]) -> None:
    shelf = make(20)
    assert [shelf.use(entry, SMALL) for entry in (1, 2, 1, 3, 1, 2)] == [
        *(False, False, True, False, True, False)
    ]


def test_all_that_fits_is_fetched_once() -> None:
    adapters = equal(2500)
    missed, seconds = replay(Ours(sum(a.size for a in adapters)), adapters, seed=1, hours=1.0)
    assert missed < 0.2
    assert seconds == pytest.approx(missed * adapters[0].cost)


def test_ours_waits_less_for_sources_of_two_speeds() -> None:
    figures = compare(seeds=1, hours=0.5).figures["mixed, two sources"]
    assert figures["ours"][1] < figures["lru"][1]
