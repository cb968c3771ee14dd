"""A weight file that a client sends: with its registration, or ahead to the object store."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from lorajobs.adapters.card import Card
from lorajobs.adapters.digest import sha256_of
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.reference import Reference
from lorajobs.errors import LoraTooLarge
from lorajobs.storage.base import Body, ObjectStore
from lorajobs.upload_errors import UploadMismatch

SCHEME = "upload"
_CHUNK = 1 << 20

#: Writes the bytes into the file, at most so many; errors call them by the text.
Bring = Callable[[Path, int, str], None]


@dataclass(frozen=True, slots=True)
class Upload:
    """One file on its way; no text is parsed to it, so no later request can name it."""

    scheme: ClassVar[str] = SCHEME
    name: str
    bring: Bring
    #: what two at once differ by
    number: str = field(default_factory=lambda: secrets.token_hex(4))

    def __str__(self) -> str:
        return f"{SCHEME}:{self.number}/{self.name}"


def sent(body: Body) -> Bring:
    """Brings what a request holds, as it comes, and stops as soon as it is too large."""

    def bring(target: Path, max_bytes: int, where: str) -> None:
        size = 0
        with target.open("wb") as file:
            while chunk := body.read(_CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise LoraTooLarge(f"{where} has more than the {max_bytes} bytes allowed")
                file.write(chunk)

    return bring


def stored(objects: ObjectStore, key: str, size: int, sha256: str) -> Bring:
    """Brings an object, if it is what was announced: not every store sees to that itself."""

    def bring(target: Path, max_bytes: int, where: str) -> None:
        objects.fetch(key, target, max_bytes)
        found = target.stat().st_size, sha256_of(target)
        if found != (size, sha256):
            raise UploadMismatch.of(where, size, sha256, *found)

    return bring


class UploadSource:
    """Takes files out of requests, or out of the object store."""

    def open(self, reference: Reference, trust: Trust, where: str) -> "UploadFolder":
        """The one file."""
        assert isinstance(reference, Upload)
        return UploadFolder(reference, where)


class UploadFolder:
    """The one file of a request; it can be read once."""

    card: Card | None = None

    def __init__(self, upload: Upload, where: str) -> None:
        self.where = where
        self._upload = upload

    @property
    def names(self) -> Sequence[str]:
        """The name that the registration gives it."""
        return [self._upload.name]

    def pin(self, name: str) -> Pin | None:
        """None: only a copy keeps it."""
        return None

    def state(self, name: str) -> str | None:
        """None: it does not change."""
        return None

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Writes the file as it comes."""
        self._upload.bring(target, max_bytes, self.where)
