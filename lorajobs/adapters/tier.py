"""Which adapters a tier of limited size keeps; it knows keys and bytes, no files and no memory."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Entry(NamedTuple):
    """What a tier knows of one key."""

    #: bytes
    size: int
    #: seconds that it takes to get it again
    cost: float
    uses: int
    worth: float
    #: orders entries of the same worth: the least recently used one goes first
    used_at: float


def worth(age: float, size: int, cost: float, uses: int) -> float:
    """What an entry is worth from its last use on, in a tier of this age."""
    return age + max(1, uses) * cost / size


class Tier:
    """Keys within a budget of bytes: LRU that weighs what an entry costs and how often it is used.

    Greedy-Dual-Size-Frequency: an entry is worth `age + uses * cost / size` at its last use. Who is
    worth least goes first, and its worth becomes the tier's age, so that what was popular once
    ages as others come. A pinned key never goes. Source: L. Cherkasova, "Improving WWW Proxies
    Performance with Greedy-Dual-Size-Frequency Caching Policy", HP Labs, HPL-98-69R1, 1998.
    """

    def __init__(self, budget: int, age: float = 0.0) -> None:
        """Starts empty, at the age of an earlier one; `budget` is in bytes."""
        self.budget = budget
        #: the worth of the last entry that went
        self.age = age
        #: bytes of all entries
        self.used = 0
        self._entries: dict[str, Entry] = {}
        self._pins: Counter[str] = Counter()
        self._now = 0.0

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def fits(self, size: int) -> bool:
        """True if so many bytes more have room once everything goes that is not pinned."""
        pinned = sum(self._entries[key].size for key in self._pins if key in self._entries)
        return pinned + size <= self.budget

    def admit(self, key: str, size: int, cost: float) -> Sequence[str]:
        """Takes a key in, or uses it if it is here; returns the keys that went for it.

        What `fits` is within the budget afterwards; otherwise only pinned keys stay beside it,
        and `used` tells by how much they are over.
        """
        if key in self._entries:
            self.touch(key)
            return ()
        evicted = self.shrink(max(0, self.budget - size))
        fresh = worth(self.age, size, cost, 1)
        self.put(key, Entry(size, cost, 1, fresh, self._now + 1))
        return evicted

    def put(self, key: str, entry: Entry) -> None:
        """Takes over what an earlier tier knew of a key that is not here; nothing goes for it."""
        self._entries[key] = entry
        self.used += entry.size
        self._now = max(self._now, entry.used_at)

    def shrink(self, budget: int) -> Sequence[str]:
        """Lets keys go until at most `budget` bytes are left, or only pinned ones; returns them."""
        free = [key for key in self._entries if not self._pins[key]]
        free.sort(key=lambda key: (self._entries[key].worth, self._entries[key].used_at))
        evicted = []
        for key in free:
            if self.used <= budget:
                break
            self.age = max(self.age, self._entries[key].worth)
            self.drop(key)
            evicted.append(key)
        return evicted

    def touch(self, key: str) -> None:
        """Counts a use.

        Raises: KeyError.
        """
        size, cost, uses, _, _ = self._entries[key]
        self._now += 1
        fresh = worth(self.age, size, cost, uses + 1)
        self._entries[key] = Entry(size, cost, uses + 1, fresh, self._now)

    def pin(self, key: str) -> None:
        """Keeps a key until it is unpinned as often as it was pinned; it may come later."""
        self._pins[key] += 1

    def unpin(self, key: str) -> None:
        """Takes one pin back.

        Raises: KeyError if there is none.
        """
        if not self._pins[key]:
            raise KeyError(key)
        self._pins[key] -= 1
        if not self._pins[key]:
            del self._pins[key]

    def drop(self, key: str) -> None:
        """Forgets a key that is gone for another reason.

        Raises: KeyError.
        """
        self.used -= self._entries.pop(key).size
