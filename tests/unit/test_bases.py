"""The base that a child has loaded, and those that it has parked, on painting engines."""

import gc
from collections.abc import Iterator, Sequence

import pytest

from lorajobs.bases import Bases
from lorajobs.engine.base import DeviceFault, Engine
from lorajobs.engine.paint import PaintEngine
from lorajobs.errors import BaseLoadFailed, EngineFailed, OutOfMemory
from lorajobs.spec import JobSpec
from tests.jobs import a_spec

#: Room for two bases of a byte each.
TWO = 2


class Car(PaintEngine):
    """A base that may fail to go or to come back."""

    def __init__(self, size: int = 1) -> None:
        super().__init__()
        self.size = size
        self.broken: Exception | None = None
        self.freed = False

    def footprint(self) -> int:
        return self.size

    def park(self, *, free: bool = False) -> None:
        self.freed = free
        if self.broken:
            raise self.broken
        super().park(free=free)

    def unpark(self) -> None:
        if self.broken:
            raise self.broken
        super().unpark()

    def close(self) -> None:
        """As the one on a device does, so that what it was made of can be collected."""
        super().close()
        gc.unfreeze()


@pytest.fixture(autouse=True)
def frozen_again() -> Iterator[None]:
    """What the whole run has imported, as before."""
    yield
    gc.freeze()


class Shelf:
    """Makes engines and remembers what was said."""

    def __init__(self, parked_bytes: int = 0) -> None:
        self.said: list[tuple[str, ...]] = []
        self.missing: set[str] = set()
        self.opened: list[str] = []
        self.sizes: dict[str, int] = {}
        self.bases = Bases(self.open_engine, self.say, parked_bytes)

    def open_engine(self, model: str) -> Engine:
        if model in self.missing:
            raise BaseLoadFailed(f"there is no {model}")
        self.opened.append(model)
        engine = Car(self.sizes.get(model, 1))
        engine.load()
        return engine

    def say(self, model: str, took_s: float, placement: str, parked: Sequence[str]) -> None:
        assert took_s >= 0
        self.said.append((model, *parked))

    def car(self, model: str) -> Car:
        engine = self.bases.engine(model)
        assert isinstance(engine, Car)
        return engine


def paints(engine: Engine, spec: JobSpec) -> bool:
    return len(engine.generate(spec, lambda step: None).pictures) == 1


def is_idle(engine: Engine) -> bool:
    with pytest.raises(EngineFailed):
        paints(engine, a_spec())
    return True


def test_a_base_is_loaded_once_and_closed_when_another_comes() -> None:
    shelf = Shelf()
    bases = shelf.bases
    assert not bases.has("a")
    assert bases.applied() == ()
    first = bases.engine("a")
    assert bases.has("a")
    assert bases.engine("a") is first
    assert paints(first, a_spec())
    second = bases.engine("b")
    assert (bases.has("a"), bases.has("b")) == (False, True)
    assert paints(second, a_spec())
    assert is_idle(first)
    assert shelf.said == [("a",), ("",), ("b",)]
    assert bases.engine("a") is not first


def test_after_a_base_that_cannot_be_loaded_none_is() -> None:
    shelf = Shelf()
    bases = shelf.bases
    bases.engine("a")
    shelf.missing = {"b"}
    with pytest.raises(BaseLoadFailed):
        bases.engine("b")
    assert not bases.has("a")
    assert not bases.has("b")
    assert bases.applied() == ()
    assert paints(bases.engine("a"), a_spec())
    assert shelf.said == [("a",), ("",), ("a",)]


def test_a_base_that_fits_is_parked_and_comes_back() -> None:
    shelf = Shelf(TWO)
    first, second = shelf.car("a"), shelf.car("b")
    assert is_idle(first)
    assert not first.freed
    assert shelf.bases.engine("a") is first
    assert paints(first, a_spec())
    assert is_idle(second)
    assert shelf.opened == ["a", "b"]
    assert shelf.said == [("a",), ("", "a"), ("b", "a"), ("", "a", "b"), ("a", "b")]


def test_those_not_used_for_longest_are_closed_once_the_budget_is_short() -> None:
    shelf = Shelf(TWO)
    for model in ("a", "b", "a", "c", "a", "b"):
        shelf.bases.engine(model)
    # "b" had to go for "c", and "c", not "a", for "b".
    assert shelf.opened == ["a", "b", "c", "b"]
    assert shelf.said[-1] == ("b", "a")
    # What the bases that stay are made of is not looked at in each search for garbage.
    assert gc.get_freeze_count() > 0


def test_what_a_parked_base_is_made_of_is_not_looked_at_after_another_was_closed() -> None:
    shelf = Shelf(TWO)
    shelf.sizes["beside"] = 0
    for model in ("a", "beside", "a"):
        shelf.bases.engine(model)
    assert shelf.opened == ["a", "beside"]
    assert gc.get_freeze_count() > 0


def test_one_that_takes_it_all_leaves_no_room_and_a_larger_one_is_never_parked() -> None:
    shelf = Shelf(TWO)
    shelf.sizes = {"b": 2, "c": 3}
    for model in ("a", "b", "c", "b", "c"):
        shelf.bases.engine(model)
    assert shelf.opened == ["a", "b", "c", "b", "c"]


def test_an_idle_base_gives_back_the_device_and_returns() -> None:
    shelf = Shelf(TWO)
    assert shelf.bases.unload() == ""
    base = shelf.car("a")
    assert shelf.bases.unload() == "parked"
    assert shelf.bases.unload() == ""
    assert base.freed
    assert not shelf.bases.has("a")
    assert shelf.bases.engine("a") is base
    without = Shelf()
    without.bases.engine("a")
    assert without.bases.unload() == "closed"


@pytest.mark.parametrize("error", [OutOfMemory("short"), EngineFailed("broken")])
def test_what_fails_to_park_or_to_return_is_closed_and_loaded_again(error: Exception) -> None:
    shelf = Shelf(TWO)
    first = shelf.car("a")
    first.broken = error
    shelf.bases.engine("b")
    assert shelf.said[-1:] == [("b",)]
    second = shelf.car("a")
    assert second is not first
    shelf.bases.engine("b")
    second.broken = error
    assert shelf.bases.engine("a") is not second
    assert is_idle(second)
    assert shelf.opened == ["a", "b", "a", "a"]
    assert shelf.said[-1:] == [("a", "b")]


def test_one_that_neither_returns_nor_loads_is_parked_no_more() -> None:
    shelf = Shelf(TWO)
    first = shelf.car("a")
    shelf.bases.engine("b")
    first.broken, shelf.missing = OutOfMemory("short"), {"a"}
    with pytest.raises(BaseLoadFailed):
        shelf.bases.engine("a")
    assert shelf.said[-1] == ("", "b")


def test_a_device_that_fails_meanwhile_is_said_at_once() -> None:
    shelf = Shelf(TWO)
    parked = shelf.car("a")
    shelf.bases.engine("b")
    parked.broken = DeviceFault("gone")
    with pytest.raises(DeviceFault):
        shelf.bases.engine("a")
    assert not shelf.bases.has("a")
