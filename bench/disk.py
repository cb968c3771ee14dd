"""A machine's disk tier and its link to the adapters' source, simulated."""

from collections import OrderedDict


class Disk:
    """Adapters of one size; the least recently used one makes room.

    Downloads share one link, so each waits for the one before it.
    """

    def __init__(self, capacity: int, download_ms: int) -> None:
        """`capacity` is how many adapters fit, `download_ms` how long one takes on a free link."""
        self.downloads = 0
        self._capacity = capacity
        self._download_ms = download_ms
        self._here: OrderedDict[str, None] = OrderedDict()
        self._coming: set[str] = set()
        self._free_at_ms = 0

    def has(self, adapter: str) -> bool:
        """True if it is here."""
        return adapter in self._here

    def use(self, adapter: str) -> None:
        """Makes it the most recently used one, and puts it here if it is not."""
        self._coming.discard(adapter)
        self._here[adapter] = None
        self._here.move_to_end(adapter)
        if len(self._here) > self._capacity:
            self._here.popitem(last=False)

    def order(self, adapter: str, now_ms: int) -> int | None:
        """Starts a download; when it will be here, None if it is here or on its way."""
        if adapter in self._here or adapter in self._coming:
            return None
        self.downloads += 1
        self._coming.add(adapter)
        self._free_at_ms = max(self._free_at_ms, now_ms) + self._download_ms
        return self._free_at_ms
