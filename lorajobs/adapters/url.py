"""Adapters on a web server: one file, downloaded once when it is named."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.reference import Reference, UrlReference
from lorajobs.download import Downloads, Faults
from lorajobs.errors import LoraFetchFailed, LoraNotFound, LoraTooLarge
from lorajobs.settings import Settings

_FAULTS = Faults(LoraTooLarge, LoraNotFound, LoraFetchFailed)


class UrlSource:
    """Opens https URLs; each address and each redirect is vetted before it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._downloads = Downloads(settings, "*/*", _FAULTS)

    def open(self, reference: Reference, trust: Trust, where: str) -> "UrlFolder":
        """Vets the URL; nothing is asked of its server yet.

        Raises: UrlNotAllowed.
        """
        assert isinstance(reference, UrlReference)
        self._downloads.vet(reference.url)
        return UrlFolder(self, reference.url, where)

    def download(self, url: str, target: Path, max_bytes: int, where: str) -> None:
        """Streams the file into `target`, within `fetch_timeout_s` seconds in all.

        Raises: UrlNotAllowed for a redirect's target, LoraTooLarge, LoraNotFound, LoraFetchFailed.
        """
        with closing(self._downloads.chunks(url, max_bytes, where)) as chunks:
            # Before there is a file: what its server refuses leaves none.
            first = next(chunks, b"")
            with target.open("wb") as file:
                file.write(first)
                file.writelines(chunks)


class UrlFolder:
    """The one file behind a URL."""

    card: Card | None = None

    def __init__(self, source: UrlSource, url: str, where: str) -> None:
        self.where = where
        self._url = url
        self._source = source

    @property
    def names(self) -> Sequence[str]:
        """The last part of the URL's path; a name without any suffix is taken for weights."""
        name = PurePosixPath(unquote(urlsplit(self._url).path)).name or "weights"
        return [name if "." in name else f"{name}.safetensors"]

    def pin(self, name: str) -> Pin | None:
        """None: a URL names no version."""
        return None

    def state(self, name: str) -> str | None:
        """Unknown without another download."""
        return None

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Downloads the file."""
        self._source.download(self._url, target, max_bytes, self.where)
