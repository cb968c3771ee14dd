"""The base that a child has loaded, on a painting engine."""

import pytest

from lorajobs.bases import Bases
from lorajobs.engine.base import Engine
from lorajobs.engine.paint import PaintEngine
from lorajobs.errors import BaseLoadFailed, EngineFailed
from lorajobs.spec import JobSpec
from tests.jobs import a_spec


class Shelf:
    """Makes engines and remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.missing: set[str] = set()

    def open_engine(self, model: str) -> Engine:
        if model in self.missing:
            raise BaseLoadFailed(f"there is no {model}")
        engine = PaintEngine()
        engine.load()
        return engine

    def say(self, model: str, took_s: float, placement: str) -> None:
        assert took_s >= 0
        self.said.append(model)


def paints(engine: Engine, spec: JobSpec) -> bool:
    return len(engine.generate(spec, lambda step: None).pictures) == 1


def test_a_base_is_loaded_once_and_closed_when_another_comes() -> None:
    shelf = Shelf()
    bases = Bases(shelf.open_engine, shelf.say)
    assert not bases.has("a")
    assert bases.applied() == ()
    first = bases.engine("a")
    assert bases.has("a")
    assert bases.engine("a") is first
    assert paints(first, a_spec())
    second = bases.engine("b")
    assert (bases.has("a"), bases.has("b")) == (False, True)
    assert paints(second, a_spec())
    with pytest.raises(EngineFailed):
        first.generate(a_spec(), lambda step: None)
    assert shelf.said == ["a", "", "b"]


def test_after_a_base_that_cannot_be_loaded_none_is() -> None:
    shelf = Shelf()
    bases = Bases(shelf.open_engine, shelf.say)
    bases.engine("a")
    shelf.missing = {"b"}
    with pytest.raises(BaseLoadFailed):
        bases.engine("b")
    assert not bases.has("a")
    assert not bases.has("b")
    assert bases.applied() == ()
    assert paints(bases.engine("a"), a_spec())
    assert shelf.said == ["a", "", "a"]
