"""What was used: jobs that a worker ended, their pictures and the GPU's time."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from lorajobs.jobs import Outcome

UsageBy = Literal["key", "adapter", "model"]


class Usage(NamedTuple):
    """The use of one API key, adapter or base model, since the store was begun."""

    #: the key's id (empty: without a key), the adapter's id or the base's
    name: str
    jobs: int
    pictures: int
    gpu_s: float


class UsageKeeper(Protocol):
    """Who adds up."""

    def usage(self, by: UsageBy, owner: str | None) -> Sequence[Usage]:
        """The use by one key, or by all for None; by name.

        A job counts once for each of its adapters, and not at all for a worker that was lost.
        Raises: StoreUnavailable.
        """


def gpu_s(outcome: Outcome) -> float:
    """Seconds for which an attempt had the GPU: to load a base, to change adapters, to generate."""
    took = outcome.metrics
    return sum(part or 0.0 for part in (took.base_s, took.swap_s, took.generate_s))
