"""What is reported of an adapter once it is active."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Counted(Protocol):
    """A layer, or what a file's header tells of one."""

    @property
    def rank(self) -> int:
        """The inner size of its products; 0 if there is none."""

    @property
    def strength(self) -> float:
        """What the product is multiplied with at scale 1."""

    @property
    def alpha_assumed(self) -> bool:
        """True if no alpha is known, so that it was taken to equal the rank."""


class Summary(NamedTuple):
    """What is reported of an adapter's layers."""

    #: how many weights it changes
    modules: int
    #: the largest; None if no layer has one
    rank: int | None
    #: the largest
    strength: float
    #: True if any layer's alpha is
    alpha_assumed: bool


def summary(layers: Sequence[Counted]) -> Summary:
    """Sums up an adapter, which has at least one layer."""
    return Summary(
        len(layers),
        max(layer.rank for layer in layers) or None,
        max((layer.strength for layer in layers), key=abs),
        any(layer.alpha_assumed for layer in layers),
    )
