"""A machine's disk and its link to the adapters' source, simulated; the tier is the real one."""

from lorajobs.adapters.disk_tier import KEEP_S
from lorajobs.adapters.tier import Tier


class Disk:
    """Adapters of one size, of which those go that `lorajobs.adapters.tier` lets go.

    Downloads share one link, so each waits for the one before it.
    """

    def __init__(self, capacity: int, download_ms: int) -> None:
        """`capacity` is how many adapters fit, `download_ms` how long one takes on a free link."""
        self.downloads = 0
        self._download_ms = download_ms
        self._tier = Tier(capacity)
        #: adapters on their way
        self._coming: set[str] = set()
        #: adapters that came ahead of their first job
        self._unused: set[str] = set()
        #: until when an adapter is kept for the jobs that wait for it
        self._kept: dict[str, int] = {}
        self._now_ms = 0
        self._free_at_ms = 0

    def has(self, adapter: str) -> bool:
        """True if it is here."""
        return adapter in self._tier

    def use(self, adapter: str) -> None:
        """Puts it here if it is on its way or nowhere; otherwise a job uses it."""
        if adapter not in self._tier:
            if adapter in self._coming:
                self._coming.discard(adapter)
                self._unused.add(adapter)
            self._admit(adapter)
        elif adapter in self._unused:
            # To come ahead of it counted as this use.
            self._unused.discard(adapter)
        else:
            self._tier.touch(adapter)

    def order(self, adapter: str, now_ms: int) -> int | None:
        """Starts a download for a waiting job, and keeps the adapter for it.

        When it will be here; None if it is here or on its way.
        """
        self._now_ms = now_ms
        self._kept[adapter] = now_ms + int(KEEP_S * 1000)
        if adapter in self._tier or adapter in self._coming:
            return None
        self.downloads += 1
        self._coming.add(adapter)
        self._free_at_ms = max(self._free_at_ms, now_ms) + self._download_ms
        return self._free_at_ms

    def _admit(self, adapter: str) -> None:
        self._kept = {key: until for key, until in self._kept.items() if until > self._now_ms}
        kept = [key for key in self._kept if key in self._tier]
        for key in kept:
            self._tier.pin(key)
        if not self._tier.fits(1):
            while kept:
                self._tier.unpin(kept.pop())
        self._unused.difference_update(self._tier.admit(adapter, 1, self._download_ms))
        for key in kept:
            self._tier.unpin(key)
