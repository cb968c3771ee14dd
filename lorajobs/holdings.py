"""What the store is told of which adapters lie in whose memory and on whose disk."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

#: Characters of a hash by which an adapter is told: 64 bits, and what is asked is a mere estimate.
_SHORT = 16
#: As many adapters are told of one holder, so that no change holds up the store for milliseconds.
_MOST = 10_000


class Holder(NamedTuple):
    """The host memory of a worker, by its name, or a disk, by that of its folder."""

    kind: Literal["memory", "disk"]
    name: str


class Holding(NamedTuple):
    """What one holder has: adapters by the start of their hash, and a name of just this set."""

    adapters: frozenset[str]
    version: str

    @classmethod
    def of(cls, sha256s: Collection[str]) -> "Holding":
        """What is told of these."""
        return _holding(frozenset(sha256s))


@lru_cache(maxsize=4)
def _holding(sha256s: frozenset[str]) -> Holding:
    """Made at each look of a worker, mostly of what it had at the last."""
    told = sorted(map(short, sha256s))[:_MOST]
    version = hashlib.sha256(" ".join(told).encode()).hexdigest()[:_SHORT]
    return Holding(frozenset(told), version)


def short(sha256: str) -> str:
    """By what a holder's adapter is told."""
    return sha256[:_SHORT]


class Holdings(Protocol):
    """Where adapters lie."""

    def put_held(self, holdings: Mapping[Holder, Holding], ttl_s: float) -> None:
        """Publishes what these holders have, until `ttl_s` has passed."""

    def held(
        self, holders: Sequence[Holder], among: Collection[str] | None = None
    ) -> Mapping[Holder, frozenset[str]]:
        """What each of them has, of all or of these; nothing if nobody told lately."""
