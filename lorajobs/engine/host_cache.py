"""The adapters that a worker's child keeps in host memory, ready for its device."""

import threading
import time
from collections.abc import Callable, Collection, Iterable

from lorajobs.adapters.tier import Tier
from lorajobs.engine.blob import Packed


class HostCache:
    """Packed adapters by content within a budget; what is worth least goes first.

    Threads may share it: adapters are made beside each other, and looked after one at a time.
    """

    def __init__(self, budget: int) -> None:
        """`budget` in bytes; what is held, and what was made last, may exceed it."""
        self._tier = Tier(budget)
        self._packs: dict[str, Packed] = {}
        self._held: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """What all of it takes, bytes."""
        return self._tier.used

    def __contains__(self, name: str) -> bool:
        return name in self._packs

    def names(self) -> Collection[str]:
        """What is here."""
        with self._lock:
            return list(self._packs)

    def get(self, name: str, make: Callable[[], Packed]) -> Packed:
        """The adapter of that name, made if it is not here; raises what `make` raises."""
        if found := self._found(name):
            return found
        begun = time.perf_counter()
        packed = make()
        cost = time.perf_counter() - begun
        # Another thread may have been faster.
        if found := self._found(name):
            return found
        with self._lock:
            self._forget(self._tier.admit(name, max(1, packed.nbytes), cost))
            self._packs[name] = packed
        return packed

    def _found(self, name: str) -> Packed | None:
        with self._lock:
            if name in self._packs:
                self._tier.touch(name)
            return self._packs.get(name)

    def hold(self, names: Collection[str]) -> None:
        """Keeps exactly these whatever comes: the active ones."""
        with self._lock:
            for name in names:
                self._tier.pin(name)
            for name in self._held:
                self._tier.unpin(name)
            self._held = frozenset(names)
            self._forget(self._tier.shrink(self._tier.budget))

    def clear(self) -> None:
        """Forgets all but what is held."""
        with self._lock:
            self._forget(self._tier.shrink(0))

    def drop(self, names: Collection[str]) -> None:
        """Forgets these, but not what is held."""
        with self._lock:
            for name in names:
                if name in self._packs and name not in self._held:
                    self._tier.drop(name)
                    del self._packs[name]

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            del self._packs[name]


class Shelf:
    """One base's part of a cache that several share: what is packed for one fits no other."""

    def __init__(self, cache: HostCache, base: str) -> None:
        """Of all that share the cache only one base at a time may hold anything."""
        self._cache = cache
        self._prefix = f"{base} "

    def names(self) -> Collection[str]:
        """What is here."""
        size = len(self._prefix)
        return [name[size:] for name in self._cache.names() if name.startswith(self._prefix)]

    def get(self, name: str, make: Callable[[], Packed]) -> Packed:
        """The adapter of that name, made if it is not here; raises what `make` raises."""
        return self._cache.get(self._prefix + name, make)

    def hold(self, names: Collection[str]) -> None:
        """Keeps exactly these whatever comes: the active ones."""
        self._cache.hold([self._prefix + name for name in names])

    def clear(self) -> None:
        """Forgets all but what is held."""
        self._cache.drop([self._prefix + name for name in self.names()])
