"""A weight file that a client sends with its registration."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.reference import Reference
from lorajobs.errors import LoraTooLarge

SCHEME = "upload"
_CHUNK = 1 << 20


class Body(Protocol):
    """What is being sent."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, empty at the end."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One file on its way; no text is parsed to it, so no later request can name it."""

    scheme: ClassVar[str] = SCHEME
    name: str
    body: Body
    #: what two at once differ by
    number: str = field(default_factory=lambda: secrets.token_hex(4))

    def __str__(self) -> str:
        return f"{SCHEME}:{self.number}/{self.name}"


class UploadSource:
    """Takes files out of requests."""

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
        """Writes the file as it comes, and stops as soon as it is too large."""
        size = 0
        with target.open("wb") as file:
            while chunk := self._upload.body.read(_CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise LoraTooLarge(f"{self.where} has more than the {max_bytes} bytes allowed")
                file.write(chunk)
