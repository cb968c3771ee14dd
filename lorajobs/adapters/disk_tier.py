"""The adapters' folder as a tier within a budget of bytes that all processes of a machine share."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lorajobs.adapters.label import Label, Record, peek
from lorajobs.adapters.tier import Entry, Tier, worth
from lorajobs.errors import NoRoomAhead

log = logging.getLogger(__name__)

#: Seconds for which an adapter that a waiting job needs is kept, from the last look at that job.
KEEP_S = 10.0
#: Assumed of a file whose label was lost: seconds to get it again.
COST_S = 1.0
SUFFIX = ".safetensors"
#: The label of the folder itself; its worth is the tier's age.
_LEDGER = "tier"


class Census(NamedTuple):
    """How many adapters are on this machine's disk, and their bytes."""

    cached: int
    cached_bytes: int


class DiskTier:
    """`<key>.safetensors` beside `locks/<key>`, its label; `<key>.part` while it comes.

    The folder and its labels are all there is: no process has to be alive for them to be right.
    """

    def __init__(self, folder: Path, budget: int | None, clock: Callable[[], float]) -> None:
        """`budget` is in bytes, None keeps everything; `clock` gives Unix seconds."""
        self.budget = budget
        self._folder = folder
        self._locks = folder / "locks"
        self._clock = clock

    def file(self, key: str) -> Path:
        """Where the adapter lies."""
        return self._folder / f"{key}{SUFFIX}"

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
        return self.file(key).exists()

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
            while True:
                tier, wanted = self._look(self.budget, ledger, key)
                if not tier.fits(size):
                    if ahead:
                        raise NoRoomAhead
                    for other in wanted:
                        tier.unpin(other)
                evicted = tier.admit(key, size, COST_S)
                # One that somebody began to use just now is seen as pinned the next time.
                if all([self._evict(other) for other in evicted]):
                    break
            ledger.write(Record(worth=tier.age), self._clock())
            # Others count from now on what is on its way.
            label.write(Record(size), self._clock())
        if tier.used > self.budget:
            log.warning("adapters in use exceed disk_cache_gb by %d bytes", tier.used - self.budget)

    def sweep(self) -> None:
        """Removes what killed downloads left, and what a smaller budget has no room for."""
        try:
            with self.own(_LEDGER) as ledger:
                tier, _ = self._look(self.budget or 0, ledger, "")
                if self.budget is not None:
                    for key in tier.shrink(self.budget):
                        self._evict(key)
                    ledger.write(Record(worth=tier.age), self._clock())
        except OSError as error:
            # A job that needs an adapter is told so; one that needs none can run.
            log.warning("%s is not swept: %s", self._folder, error)

    def census(self) -> Census:
        """Counts what is here; a millisecond for hundreds of adapters."""
        sizes = self._sizes().values()
        return Census(len(sizes), sum(sizes))

    def _write(self, label: Label, size: int, cost: float, uses: int) -> None:
        age = (peek(self._locks / _LEDGER) or Record()).worth
        label.write(Record(size, cost, uses, worth(age, size, cost, uses)), self._clock())

    def _look(self, budget: int, ledger: Label, but: str) -> tuple[Tier, list[str]]:
        """The tier as it is, without one key, and the keys that only waiting jobs pin."""
        sizes, now = self._sizes(), self._clock()
        tier = Tier(budget, (ledger.read() or Record()).worth)
        wanted = []
        for key in {*sizes, *self._others()} - {but}:
            label = Label.seize(self._locks / key)
            if label is None:
                tier.pin(key)
            elif key in sizes:
                label.release()
            else:
                self._clear(key, label)
                continue
            entry = self._entry(key, sizes.get(key))
            tier.put(key, entry)
            if label is not None and 0 <= now - entry.used_at < KEEP_S:
                tier.pin(key)
                wanted.append(key)
        return tier, wanted

    def _entry(self, key: str, size: int | None) -> Entry:
        """What is known of an adapter; one that is on its way has the size that its label says."""
        path = self._locks / key
        record = peek(path) or Record(cost=COST_S)
        try:
            used_at = path.stat().st_mtime
        except FileNotFoundError:
            used_at = 0.0
        size = record.size if size is None else size
        return Entry(size, record.cost, record.uses, record.worth, used_at)

    def _sizes(self) -> Mapping[str, int]:
        """The bytes of each adapter that is here."""
        return {
            entry.name.removesuffix(SUFFIX): size
            for entry in _listed(self._folder)
            if entry.name.endswith(SUFFIX) and (size := _size(entry)) is not None
        }

    def _others(self) -> Iterator[str]:
        """What labels and unfinished downloads are called."""
        yield from (entry.name for entry in _listed(self._locks) if entry.name != _LEDGER)
        for entry in _listed(self._folder):
            key, mark, _ = entry.name.partition(".part")
            if mark:
                yield key

    def _evict(self, key: str) -> bool:
        label = Label.seize(self._locks / key)
        if label is None:
            return False
        with label:
            self.file(key).unlink(missing_ok=True)
            label.remove()
        log.info("adapter %s left the disk", key)
        return True

    def _clear(self, key: str, label: Label) -> None:
        """Removes what a killed download left."""
        with label:
            self.discard_part(key)
            label.remove()

    def discard_part(self, key: str) -> None:
        """Removes an unfinished download and what a source's client put beside it."""
        part = self.part(key)
        part.unlink(missing_ok=True)
        for beside in self._folder.glob(f"{part.name}.*"):
            shutil.rmtree(beside, ignore_errors=True)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        # Another process may evict while this one counts.
        return None
