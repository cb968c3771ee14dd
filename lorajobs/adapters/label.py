"""The small file beside each cached adapter: its lock, what it is worth, how it was found whole."""

import fcntl
import os
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_FORMAT = struct.Struct("<qdqd")
#: Bytes for the mark, in front: a label that was lost has one before it has a record again.
_MARK_ROOM = 64


class Record(NamedTuple):
    """What a label says, the fields as in `tier.Entry`; its file's mtime is the last use."""

    size: int = 0
    cost: float = 0.0
    uses: int = 0
    worth: float = 0.0


class Releasable(ABC):
    """What the end of a `with` block releases."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @abstractmethod
    def release(self) -> None:
        """Lets go of it; once more does nothing."""


class Label(Releasable):
    """A locked label; the lock is the kernel's, so it ends with its process, however that dies.

    A shared lock pins the adapter. Whoever brings it or removes it holds the label alone.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def share(cls, path: Path) -> Self:
        """Waits until nobody holds it alone."""
        return cls._locked(path, fcntl.LOCK_SH)

    @classmethod
    def own(cls, path: Path) -> Self:
        """Waits until nobody else holds it."""
        return cls._locked(path, fcntl.LOCK_EX)

    @classmethod
    def seize(cls, path: Path) -> Self | None:
        """Holds it alone, or gives None at once if anybody holds it."""
        try:
            return cls._locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    @classmethod
    def _locked(cls, path: Path, how: int) -> Self:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, how)
                if _is_at(path, descriptor):
                    return cls(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            # Its last owner removed it while this one waited.
            os.close(descriptor)

    def release(self) -> None:
        """Ends the lock; once more does nothing."""
        if self._descriptor >= 0:
            # By name, as a forked process may have a copy of the descriptor.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, record: Record, now: float) -> None:
        """Says that the adapter was used or wanted now, Unix seconds."""
        os.pwrite(self._descriptor, _FORMAT.pack(*record), _MARK_ROOM)
        os.utime(self._descriptor, (now, now))

    def read(self) -> Record | None:
        """What it says; None if nothing yet."""
        return _unpacked(os.pread(self._descriptor, _MARK_ROOM + _FORMAT.size, 0))

    def mark(self, mark: bytes) -> None:
        """Says that the adapter was hashed, and by what it is known since, up to 64 bytes."""
        os.pwrite(self._descriptor, mark, 0)

    def is_marked(self, mark: bytes) -> bool:
        """True if this was said of the adapter last."""
        return os.pread(self._descriptor, len(mark), 0) == mark

    def remove(self) -> None:
        """Removes the label of an adapter that is gone; only for who holds it alone."""
        self._path.unlink(missing_ok=True)


def peek(path: Path) -> Record | None:
    """What a label says that another may be writing; None if nothing, or if there is none."""
    try:
        return _unpacked(path.read_bytes())
    except FileNotFoundError:
        return None


def _unpacked(raw: bytes) -> Record | None:
    whole = len(raw) == _MARK_ROOM + _FORMAT.size
    return Record(*_FORMAT.unpack_from(raw, _MARK_ROOM)) if whole else None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
