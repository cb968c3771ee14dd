"""What a check finds, and what to do about it."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

#: Every check, in the order in which it is told.
NAMES = (
    "redis",
    "broker",
    "storage",
    "api",
    "keys",
    "workers",
    "courier",
    "bases",
    "adapters",
    "gpu",
    "disk",
    "packages",
)


class State(StrEnum):
    """How bad a finding is; with `WRONG`, jobs or webhooks fail or wait."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(NamedTuple):
    """One line of the doctor's."""

    state: State
    text: str
    #: empty if nothing needs to be done
    way_out: str = ""


class Check(NamedTuple):
    """One look at one thing."""

    name: str
    look: Callable[[], Iterable[Finding]]
    #: seconds after which it is taken for hung
    within_s: float = 20.0


def ok(text: str) -> Finding:
    """As it should be."""
    return Finding(State.OK, text)


def warning(text: str, way_out: str) -> Finding:
    """It works, and may not for long or not well."""
    return Finding(State.WARNING, text, way_out)


def wrong(text: str, way_out: str) -> Finding:
    """It does not work."""
    return Finding(State.WRONG, text, way_out)
