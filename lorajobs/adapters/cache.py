"""The adapters on this machine's disk: named by their hash, each downloaded once."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lorajobs.adapters.header import read_header
from lorajobs.errors import LoraFetchFailed, LoraTooLarge
from lorajobs.settings import Settings

#: Writes a weight file's bytes into the path.
Fetch = Callable[[Path], None]


class Cached(NamedTuple):
    """A weight file in the cache."""

    path: Path
    sha256: str
    bytes: int


class DiskCache:
    """A folder of `<sha256>.safetensors` that any number of processes share."""

    def __init__(self, folder: Path, max_file_bytes: int) -> None:
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        #: files that this process has hashed, with the state they were in
        self._verified: dict[Path, tuple[int, int]] = {}

    @classmethod
    def of(cls, settings: Settings) -> "DiskCache":
        """The cache that all processes with these settings on this machine share."""
        return cls(settings.data_dir.expanduser() / "adapters", settings.lora_max_bytes)

    def has(self, sha256: str) -> bool:
        """True if a file of this name is here; whether it is whole shows when it is ensured."""
        return self._path(sha256).exists()

    def ensure(self, sha256: str, size: int, fetch: Fetch, name: str) -> Path:
        """The file of this hash, fetched unless it is here; errors call it `name`.

        Raises: LoraFetchFailed for other bytes than these, LoraInvalidFile, LoraPickle,
        LoraTooLarge, OSError, and what `fetch` raises.
        """
        path = self._path(sha256)
        if self._holds(path, sha256, size):
            return path
        with self._lock(sha256):
            if self._holds(path, sha256, size):
                return path
            with self._part(sha256) as part:
                fetch(part)
                found = self._measured(part, name)
                # Before the header: a source that is down may answer with a page that says so.
                if (found.sha256, found.bytes) != (sha256, size):
                    raise LoraFetchFailed(
                        f"{name}: the source sent other bytes than the pinned ones "
                        f"(sha256 {found.sha256} with {found.bytes} bytes instead of "
                        f"{sha256} with {size})"
                    )
                return self._accept(found, name).path

    def add(self, fetch: Fetch, name: str) -> Cached:
        """Fetches a file whose hash nobody knows yet.

        Raises: LoraInvalidFile, LoraPickle, LoraTooLarge, OSError, and what `fetch` raises.
        """
        key = _key(name)
        with self._lock(key), self._part(key) as part:
            fetch(part)
            return self._accept(self._measured(part, name), name)

    def read(self, fetch: Fetch, name: str) -> bytes:
        """Fetches a small file that is not kept.

        Raises: OSError, and what `fetch` raises.
        """
        key = _key(name)
        with self._lock(key), self._part(key) as part:
            fetch(part)
            return part.read_bytes()

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.safetensors"

    def _holds(self, path: Path, sha256: str, size: int) -> bool:
        """True if the file is whole; each process reads it once to know."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        if stat.st_size != size:
            return False
        state = (stat.st_mtime_ns, stat.st_ino)
        if self._verified.get(path) != state:
            if _sha256(path) != sha256:
                return False
            self._verified[path] = state
        return True

    def _measured(self, part: Path, name: str) -> Cached:
        size = part.stat().st_size
        if size > self._max_file_bytes:
            raise LoraTooLarge(f"{name} has {size} bytes, allowed are {self._max_file_bytes}")
        return Cached(part, _sha256(part), size)

    def _accept(self, found: Cached, name: str) -> Cached:
        """Gives a valid file its name, in one step and only once its bytes are on the disk."""
        read_header(found.path, name)
        with found.path.open("rb") as file:
            os.fsync(file.fileno())
        path = self._path(found.sha256)
        found.path.replace(path)
        return found._replace(path=path)

    @contextmanager
    def _part(self, key: str) -> Iterator[Path]:
        """A file to write to, under a name that a crashed attempt left behind and this one reuses.

        The lock of the same key keeps others away from it.
        """
        part = self._folder / f"{key}.part"
        part.unlink(missing_ok=True)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Keeps other threads and processes of this machine away; a dead one's lock is free."""
        locks = self._folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / key).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
