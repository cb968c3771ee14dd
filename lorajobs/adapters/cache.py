"""The adapters on this machine's disk: named by their hash, each downloaded once."""

import errno
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from lorajobs.adapters.census import Census, Folder
from lorajobs.adapters.digest import mark_of, sha256_of
from lorajobs.adapters.disk_tier import DiskTier
from lorajobs.adapters.header import read_header
from lorajobs.adapters.label import Label, Releasable
from lorajobs.errors import LoraFetchFailed, LoraTooLarge
from lorajobs.settings import Settings

log = logging.getLogger(__name__)

#: Writes a weight file's bytes into the path.
Fetch = Callable[[Path], None]
#: Where an adapter was found: on this machine, or at its source.
TierName = Literal["disk", "remote"]

GIGABYTE = 10**9
#: How often a file that goes again before it can be held is brought.
_TRIES = 3


class Held(Releasable):
    """A weight file that stays on the disk until it is released, or this process ends."""

    def __init__(self, label: Label, path: Path, sha256: str, size: int, tier: TierName) -> None:
        self.path = path
        self.sha256 = sha256
        self.bytes = size
        self.tier = tier
        self._label = label

    def release(self) -> None:
        """Lets the file go; once more does nothing."""
        self._label.release()


class _Wanted(NamedTuple):
    """A file that is asked for."""

    sha256: str
    bytes: int
    #: what errors call it
    name: str
    #: its job still waits
    ahead: bool
    #: when somebody began to fetch it, by the monotonic clock; None if nobody has yet
    begun: float | None = None
    #: what is fetched was hashed just before, and its header read
    is_checked: bool = False


class DiskCache:
    """A folder of `<sha256>.safetensors` that any number of processes share.

    What stands under such a name was hashed when it came. Each read looks at its size, times and a
    sample (`digest.mark_of`), and it is hashed again if they changed or the machine was restarted.
    """

    def __init__(
        self,
        folder: Path,
        max_file_bytes: int,
        budget: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`budget` is in bytes, None keeps everything; `clock` gives Unix seconds."""
        self._tier = DiskTier(folder, budget, clock)
        self._folder = Folder(folder)
        self._max_file_bytes = max_file_bytes if budget is None else min(max_file_bytes, budget)

    @classmethod
    def of(cls, settings: Settings) -> "DiskCache":
        """The cache that all processes with these settings on this machine share."""
        folder = settings.data_dir.expanduser() / "adapters"
        budget = int(settings.disk_cache_gb * GIGABYTE) or None
        return cls(folder, settings.lora_max_bytes, budget)

    def has(self, sha256: str) -> bool:
        """True if a file of this name is here; whether it is whole shows when it is ensured."""
        return self._tier.has(sha256)

    def keep(self, sha256: str) -> bool:
        """The same, and the file stays for some seconds unless a running job needs its room."""
        return self._tier.keep(sha256)

    def census(self) -> Census:
        """Which adapters are here, and their bytes."""
        return self._folder.census()

    def sweep(self) -> None:
        """Removes what killed downloads left, and what a smaller budget has no room for."""
        self._tier.sweep()

    def ensure(
        self, sha256: str, size: int, fetch: Fetch, name: str, *, ahead: bool = False
    ) -> Held:
        """Holds the file of this hash, fetched unless it is here; errors call it `name`.

        One that comes `ahead` of its job lets nothing go that another waiting job needs.
        Raises: LoraFetchFailed for other bytes than these or a full disk, LoraInvalidFile,
        LoraPickle, LoraTooLarge, NoRoomAhead, OSError, and what `fetch` raises.
        """
        self._require_size(size, name)
        return self._hold(_Wanted(sha256, size, name, ahead), fetch)

    def add(self, fetch: Fetch, name: str, hashed: Callable[[Path], str] = sha256_of) -> Held:
        """Fetches and holds a file whose hash nobody knows yet; its room is made once it is here.

        `hashed` gives its SHA-256 in hex, of what is an adapter by its header.
        Raises: LoraFetchFailed for a full disk, LoraInvalidFile, LoraPickle, LoraTooLarge, OSError,
        and what `fetch` and `hashed` raise.
        """
        key, begun = _key(name), time.monotonic()
        with self._tier.own(key) as label, self._part(label, key) as part:
            with _full_disk_named(name):
                fetch(part)
            size = part.stat().st_size
            self._require_size(size, name)
            read_header(part, name)
            wanted = _Wanted(hashed(part), size, name, False, begun, is_checked=True)

            def fetched(target: Path) -> None:
                part.replace(target)

            return self._hold(wanted, fetched)

    def read(self, fetch: Fetch, name: str) -> bytes:
        """Fetches a small file that is not kept.

        Raises: LoraFetchFailed for a full disk, OSError, and what `fetch` raises.
        """
        key = _key(name)
        with self._tier.own(key) as label, self._part(label, key) as part:
            with _full_disk_named(name):
                fetch(part)
            return part.read_bytes()

    def _require_size(self, size: int, name: str) -> None:
        if size > self._max_file_bytes:
            raise LoraTooLarge(f"{name} has {size} bytes, allowed are {self._max_file_bytes}")

    def _hold(self, wanted: _Wanted, fetch: Fetch) -> Held:
        path = self._tier.file(wanted.sha256)
        tier: TierName = "disk"
        for _ in range(_TRIES):
            label = self._tier.share(wanted.sha256)
            try:
                found = _state(path)
                if found and _is_whole(label, path, wanted):
                    if not wanted.ahead:
                        self._tier.use(label, wanted.bytes)
                    return Held(label, path, wanted.sha256, wanted.bytes, tier)
            except BaseException:
                label.release()
                raise
            label.release()
            with self._tier.own(wanted.sha256) as label:
                # Otherwise another process has brought it meanwhile.
                if _state(path) == found:
                    self._bring(label, wanted, fetch)
                    tier = "remote"
        raise LoraFetchFailed(
            f"{wanted.name} left the disk as often as it was fetched; raise LORAJOBS_DISK_CACHE_GB"
        )

    def _bring(self, label: Label, wanted: _Wanted, fetch: Fetch) -> None:
        """Fetches the file under a label that this thread owns."""
        sha256, size, name = wanted.sha256, wanted.bytes, wanted.name
        with self._part(label, sha256) as part:
            # A damaged one, which is never to be used again.
            self._tier.file(sha256).unlink(missing_ok=True)
            self._tier.make_room(label, sha256, size, ahead=wanted.ahead)
            begun = wanted.begun or time.monotonic()
            with _full_disk_named(name):
                fetch(part)
            found = part.stat().st_size, sha256 if wanted.is_checked else sha256_of(part)
            self._require_size(found[0], name)
            # Before the header: a source that is down may answer with a page that says so.
            if found != (size, sha256):
                raise LoraFetchFailed(
                    f"{name}: the source sent other bytes than the pinned ones "
                    f"(sha256 {found[1]} with {found[0]} bytes instead of {sha256} with {size})"
                )
            self._name(part, label, wanted)
            self._tier.arrived(label, size, time.monotonic() - begun, ahead=wanted.ahead)

    def _name(self, part: Path, label: Label, wanted: _Wanted) -> None:
        """Gives a valid file its name, in one step.

        It is not synced to the disk, which takes as long as all else together: what a machine's
        crash leaves of it is found at the next read, as every damage is, and fetched again.
        """
        if not wanted.is_checked:
            read_header(part, wanted.name)
        path = self._tier.file(wanted.sha256)
        part.replace(path)
        label.mark(mark_of(path))

    @contextmanager
    def _part(self, label: Label, key: str) -> Iterator[Path]:
        """A file to write to, which is gone afterwards; so is a label without an adapter."""
        self._tier.discard_part(key)
        try:
            yield self._tier.part(key)
        finally:
            self._tier.discard_part(key)
            if not self.has(key):
                label.remove()


@contextmanager
def _full_disk_named(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise LoraFetchFailed(
            f"{name}: the disk of this machine is full; free some of it, or lower "
            "LORAJOBS_DISK_CACHE_GB"
        ) from error


def _is_whole(label: Label, path: Path, wanted: _Wanted) -> bool:
    # Before the bytes: a file that changes in between is marked as it was.
    mark = mark_of(path)
    if path.stat().st_size == wanted.bytes:
        if label.is_marked(mark):
            return True
        if sha256_of(path) == wanted.sha256:
            label.mark(mark)
            return True
    log.warning("%s: its file on the disk is damaged and fetched again", wanted.name)
    return False


def _state(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
