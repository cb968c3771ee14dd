"""How many requests each process of the API lets wait for jobs, as all processes see it."""

from collections.abc import Mapping
from typing import Protocol

#: Seconds for which a process's word counts, so that one that was killed is forgotten.
TOLD_S = 90.0


class Listeners(Protocol):
    """Where processes tell it; both verbs raise StoreUnavailable."""

    def tell(self, process: str, count: int) -> None:
        """So many wait in this process, for the next `TOLD_S` seconds."""

    def counts(self) -> Mapping[str, int]:
        """How many wait in each process that has any."""
