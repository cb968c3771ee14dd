"""The policy of a tier against simple references, by any sequence of uses."""

from collections import OrderedDict
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lorajobs.adapters.tier import Entry, Tier

KEYS = st.sampled_from("abcdefgh")
#: Powers of two, so that costs per byte are exact in floats.
SIZES = st.sampled_from([1, 2, 4, 8, 16])
COSTS = st.integers(1, 64)


@given(st.lists(KEYS, max_size=60), st.integers(1, 8))
def test_a_key_used_once_each_time_it_comes_goes_in_the_order_of_use(
    asked: list[str], capacity: int
) -> None:
    """Of equal sizes, costs and counts of uses the least recently used goes: LRU."""
    tier, reference = Tier(capacity * 10), OrderedDict[str, None]()
    for key in asked:
        if key in tier:
            continue
        reference[key] = None
        gone = [reference.popitem(last=False)[0]] if len(reference) > capacity else []
        assert list(tier.admit(key, 10, 1.0)) == gone


class Sinking:
    """Greedy-Dual-Size-Frequency as it is defined without an age: all that stay sink instead."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.size: dict[str, int] = {}
        self.gain: dict[str, Fraction] = {}
        self.uses: dict[str, int] = {}
        self.height: dict[str, Fraction] = {}
        self.order: list[str] = []

    def use(self, key: str, size: int, cost: int) -> list[str]:
        gone: list[str] = []
        if key in self.size:
            self.order.remove(key)
        else:
            while sum(self.size.values()) + size > self.budget:
                low = min(self.height.values())
                victim = next(k for k in self.order if self.height[k] == low)
                for table in (self.size, self.gain, self.uses, self.height):
                    table.pop(victim)
                self.order.remove(victim)
                self.height = {k: h - low for k, h in self.height.items()}
                gone.append(victim)
            self.size[key], self.gain[key], self.uses[key] = size, Fraction(cost, size), 0
        self.uses[key] += 1
        self.height[key] = self.uses[key] * self.gain[key]
        self.order.append(key)
        return gone


@given(
    st.dictionaries(KEYS, st.tuples(SIZES, COSTS), min_size=8, max_size=8),
    st.lists(KEYS, max_size=80),
    st.integers(16, 48),
)
def test_keys_go_as_the_definition_says(
    files: dict[str, tuple[int, int]], asked: list[str], budget: int
) -> None:
    tier, reference = Tier(budget), Sinking(budget)
    for key in asked:
        size, cost = files[key]
        assert list(tier.admit(key, size, cost)) == reference.use(key, size, cost)


class Uses(RuleBasedStateMachine):
    """Any sequence of calls keeps the budget and the pins."""

    @initialize(budget=st.integers(16, 40))
    def begin(self, budget: int) -> None:
        self.tier = Tier(budget)
        self.sizes: dict[str, int] = {}
        self.pins: dict[str, int] = {}

    @rule(key=KEYS, size=SIZES, cost=COSTS)
    def admit(self, key: str, size: int, cost: int) -> None:
        here, fits = key in self.sizes, self.tier.fits(size)
        gone = self.tier.admit(key, size, cost)
        assert not any(self.pins.get(other) for other in gone)
        assert len(gone) == len(set(gone))
        for other in gone:
            del self.sizes[other]
        if here:
            assert not gone
            return
        self.sizes[key] = size
        if fits:
            assert self.tier.used <= self.tier.budget
        else:
            assert all(self.pins.get(other) for other in self.sizes if other != key)

    @rule(key=KEYS)
    def touch(self, key: str) -> None:
        if key in self.sizes:
            self.tier.touch(key)
        else:
            with pytest.raises(KeyError):
                self.tier.touch(key)

    @rule(key=KEYS)
    def pin(self, key: str) -> None:
        self.tier.pin(key)
        self.pins[key] = self.pins.get(key, 0) + 1

    @rule(key=KEYS)
    def unpin(self, key: str) -> None:
        if self.pins.get(key):
            self.tier.unpin(key)
            self.pins[key] -= 1
        else:
            with pytest.raises(KeyError):
                self.tier.unpin(key)

    @precondition(lambda self: self.sizes)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.sizes)))
        self.tier.drop(key)
        del self.sizes[key]

    @rule()
    def shrink(self) -> None:
        for key in self.tier.shrink(0):
            assert not self.pins.get(key)
            del self.sizes[key]
        assert all(self.pins.get(key) for key in self.sizes)

    @invariant()
    def knows_what_is_here(self) -> None:
        if hasattr(self, "tier"):
            assert self.tier.used == sum(self.sizes.values())
            assert len(self.tier) == len(self.sizes)
            assert all(key in self.tier for key in self.sizes)


TestUses = Uses.TestCase
TestUses.settings = settings(stateful_step_count=settings().stateful_step_count // 2)


def test_what_costs_more_per_byte_and_is_used_more_stays() -> None:
    tier = Tier(100)
    tier.admit("large", 60, 1.0)
    tier.admit("slow", 20, 1.0)
    tier.admit("often", 20, 0.4)
    for _ in range(3):
        tier.touch("often")
    assert list(tier.admit("new", 10, 1.0)) == ["large"]
    assert list(tier.admit("newer", 60, 1.0)) == ["slow"]


def test_what_was_popular_once_ages() -> None:
    tier = Tier(30)
    tier.admit("old", 10, 1.0)
    for _ in range(9):
        tier.touch("old")
    gone = [key for number in range(30) for key in tier.admit(f"n{number}", 10, 1.0)]
    assert gone.index("old") in range(10, 25)


def test_a_tier_goes_on_where_an_earlier_one_was() -> None:
    tier = Tier(30, age=5.0)
    tier.put("a", Entry(size=10, cost=1.0, uses=4, worth=5.4, used_at=7.0))
    tier.put("b", Entry(size=10, cost=1.0, uses=1, worth=5.1, used_at=9.0))
    assert tier.used == 20
    assert list(tier.admit("c", 20, 1.0)) == ["b"]
    assert tier.age == 5.1


def test_what_is_larger_than_the_budget_never_fits() -> None:
    assert not Tier(10).fits(11)
    assert Tier(10).fits(10)
