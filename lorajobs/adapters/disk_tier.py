"""The adapters' folder as a tier within a budget of bytes that all processes of a machine share."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from lorajobs.adapters.census import SUFFIX, listed, sizes_in
from lorajobs.adapters.label import Label, Record, peek
from lorajobs.adapters.tier import Entry, Tier, worth
from lorajobs.errors import NoRoomAhead

log = logging.getLogger(__name__)

#: Seconds for which an adapter that a waiting job needs is kept, from the last look at that job.
KEEP_S = 10.0
#: Assumed of a file whose label was lost: seconds to get it again.
COST_S = 1.0
#: The label of the folder itself; its worth is the tier's age.
_LEDGER = "tier"


class DiskTier:
    """`<key>.safetensors` beside `locks/<key>`, its label; `<key>.part` while it comes.

    The folder and its labels are all there is: no process has to be alive for them to be right.
    """

    def __init__(self, folder: Path, budget: int | None, clock: Callable[[], float]) -> None:
        """`budget` is in bytes, None keeps everything; `clock` gives Unix seconds."""
        self.budget = budget
        self._folder = folder
        self._prefix = os.path.join(folder, "")
        self._locks = folder / "locks"
        self._clock = clock

    def file(self, key: str) -> Path:
        """Where the adapter lies."""
        return self._folder / f"{key}{SUFFIX}"

    def has(self, key: str) -> bool:
        """True if the adapter is here; asked so often in a claim that no Path is made for it."""
        return os.path.exists(f"{self._prefix}{key}{SUFFIX}")

    def part(self, key: str) -> Path:
        """Where it is written to while it comes, by who owns its label."""
        return self._folder / f"{key}.part"

    def share(self, key: str) -> Label:
        """Waits until nobody brings or removes the adapter, and pins it."""
        self._locks.mkdir(parents=True, exist_ok=True)
        return Label.share(self._locks / key)

    def own(self, key: str) -> Label:
        """Waits until nobody else uses the adapter or brings it."""
        self._locks.mkdir(parents=True, exist_ok=True)
        return Label.own(self._locks / key)

    def keep(self, key: str) -> bool:
        """True if the adapter is here; it is then kept for `KEEP_S` seconds as far as can be."""
        now = self._clock()
        # What cannot be marked is not here, or not for long.
        with suppress(OSError):
            os.utime(self._locks / key, (now, now))
        return self.has(key)

    def use(self, label: Label, size: int) -> None:
        """Counts a use of an adapter that is here."""
        record = label.read() or Record(size, COST_S)
        self._write(label, size, record.cost, record.uses + 1)

    def arrived(self, label: Label, size: int, cost: float, *, ahead: bool) -> None:
        """Says what an adapter has cost that has just come; `ahead` is no use yet."""
        self._write(label, size, cost, 0 if ahead else 1)

    def make_room(self, label: Label, key: str, size: int, *, ahead: bool) -> None:
        """Lets others go, so that an adapter of which the label is owned can come.

        Nothing goes that is in use. What a waiting job needs goes last, and not at all for one that
        comes `ahead`. The budget is exceeded if all that is left is in use.
        Raises: NoRoomAhead.
        """
        if self.budget is None:
            label.write(Record(size), self._clock())
            return
        with self.own(_LEDGER) as ledger:
            sizes = self._occupied(key)
            if sum(sizes.values()) + size > self.budget:
                self._evict_for(size, ledger, sizes, self.budget, ahead=ahead)
            # Others count from now on what is on its way.
            label.write(Record(size), self._clock())

    def sweep(self) -> None:
        """Removes what killed downloads left, and what a smaller budget has no room for."""
        try:
            with self.own(_LEDGER) as ledger:
                sizes = self._occupied()
                if self.budget is not None and sum(sizes.values()) > self.budget:
                    self._evict_for(0, ledger, sizes, self.budget, ahead=False)
        except OSError as error:
            # A job that needs an adapter is told so; one that needs none can run.
            log.warning("%s is not swept: %s", self._folder, error)

    def _write(self, label: Label, size: int, cost: float, uses: int) -> None:
        age = (peek(self._locks / _LEDGER) or Record()).worth
        label.write(Record(size, cost, uses, worth(age, size, cost, uses)), self._clock())

    def _occupied(self, but: str = "") -> dict[str, int]:
        """The bytes of each adapter that is here or on its way, except one; clears leftovers."""
        sizes = sizes_in(self._folder)
        for key in {*self._others()} - sizes.keys():
            label = Label.seize(self._locks / key)
            if label is None:
                sizes[key] = (peek(self._locks / key) or Record()).size
                continue
            with label:
                # It may have come since the folder was listed.
                if self.file(key).exists():
                    sizes[key] = self.file(key).stat().st_size
                else:
                    self.discard_part(key)
                    label.remove()
        sizes.pop(but, None)
        return sizes

    def _evict_for(
        self, size: int, ledger: Label, sizes: Mapping[str, int], budget: int, *, ahead: bool
    ) -> None:
        entries = {key: self._entry(key, sizes[key]) for key in sizes}
        tier, now = Tier(budget, (ledger.read() or Record()).worth), self._clock()
        for key, entry in entries.items():
            tier.put(key, entry)
        wanted = [key for key, entry in entries.items() if abs(now - entry.used_at) < KEEP_S]
        for key in wanted:
            tier.pin(key)
        while tier.used + size > budget:
            if wanted and not tier.fits(size):
                if ahead:
                    raise NoRoomAhead
                while wanted:
                    tier.unpin(wanted.pop())
            gone = tier.shrink(budget - size)
            if not gone:
                excess = tier.used + size - budget
                log.warning("adapters in use exceed disk_cache_gb by %d bytes", excess)
                break
            for key in gone:
                if not self._evict(key):
                    tier.put(key, entries[key])
                    tier.pin(key)
            ledger.write(Record(worth=tier.age), now)

    def _entry(self, key: str, size: int) -> Entry:
        """What is known of an adapter; of one without a label no more than its size."""
        path = self._locks / key
        record = peek(path) or Record(cost=COST_S)
        try:
            used_at = path.stat().st_mtime
        except FileNotFoundError:
            used_at = 0.0
        return Entry(size, record.cost, record.uses, record.worth, used_at)

    def _others(self) -> Iterator[str]:
        """What labels and unfinished downloads are called."""
        yield from (entry.name for entry in listed(self._locks) if entry.name != _LEDGER)
        for entry in listed(self._folder):
            key, mark, _ = entry.name.partition(".part")
            if mark:
                yield key

    def _evict(self, key: str) -> bool:
        label = Label.seize(self._locks / key)
        if label is None:
            return False
        with label:
            self.file(key).unlink(missing_ok=True)
            self.discard_part(key)
            label.remove()
        log.info("adapter %s left the disk", key)
        return True

    def discard_part(self, key: str) -> None:
        """Removes an unfinished download and what a source's client put beside it."""
        part = self.part(key)
        part.unlink(missing_ok=True)
        for beside in self._folder.glob(f"{part.name}.*"):
            shutil.rmtree(beside, ignore_errors=True)
