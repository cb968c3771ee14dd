"""Adapters on a web server: one file, downloaded once when it is named."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.reference import Reference, UrlReference
from lorajobs.addresses import require_allowed
from lorajobs.errors import LoraFetchFailed, LoraNotFound, LoraTooLarge, UrlNotAllowed
from lorajobs.settings import Settings

MAX_REDIRECTS = 3
#: a server that sends nothing for so long is gone
STALL_S = 15.0
CHUNK_BYTES = 1 << 20

_REDIRECTS = (301, 302, 303, 307, 308)


class UrlSource:
    """Opens https URLs; each address and each redirect is vetted before it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._allow_private = settings.allow_private_urls
        self._timeout_s = settings.fetch_timeout_s

    def open(self, reference: Reference, trust: Trust) -> "UrlFolder":
        """Vets the URL; nothing is asked of its server yet.

        Raises: UrlNotAllowed.
        """
        assert isinstance(reference, UrlReference)
        require_allowed(reference.url, self._allow_private)
        return UrlFolder(self, reference.url)

    def download(self, url: str, target: Path, max_bytes: int) -> None:
        """Streams the file into `target`, within `fetch_timeout_s` seconds in all.

        Raises: UrlNotAllowed for a redirect's target, LoraTooLarge, LoraNotFound, LoraFetchFailed.
        """
        deadline = time.monotonic() + self._timeout_s
        # No proxy of the environment: it would connect to addresses that nobody vetted.
        with httpx.Client(trust_env=False, timeout=min(STALL_S, self._timeout_s)) as client:
            try:
                with closing(self._answer(client, url)) as answer:
                    _save(answer, url, target, max_bytes, deadline)
            except httpx.TimeoutException as error:
                raise LoraFetchFailed(f"{url}: its server does not answer in time") from error
            except httpx.InvalidURL as error:
                raise UrlNotAllowed(f"{url}: {error}") from error
            except httpx.HTTPError as error:
                what = type(error).__name__
                raise LoraFetchFailed(f"{url}: the download broke off ({what})") from error

    def _answer(self, client: httpx.Client, url: str) -> httpx.Response:
        """The answer behind at most `MAX_REDIRECTS` redirects, its body not read yet."""
        # Compression could make a small answer large, and weights do not shrink.
        headers = {"Accept-Encoding": "identity", "User-Agent": "lorajobs"}
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            require_allowed(at, self._allow_private)
            answer = client.send(client.build_request("GET", at, headers=headers), stream=True)
            if answer.status_code not in _REDIRECTS or answer.next_request is None:
                return answer
            at = str(answer.next_request.url)
            answer.close()
        raise LoraFetchFailed(f"{url}: more than {MAX_REDIRECTS} redirects")


class UrlFolder:
    """The one file behind a URL."""

    card: Card | None = None

    def __init__(self, source: UrlSource, url: str) -> None:
        self.where = url
        self._source = source

    @property
    def names(self) -> Sequence[str]:
        """The last part of the URL's path; a name without any suffix is taken for weights."""
        name = PurePosixPath(unquote(urlsplit(self.where).path)).name or "weights"
        return [name if "." in name else f"{name}.safetensors"]

    def pin(self, name: str) -> Pin | None:
        """None: a URL names no version."""
        return None

    def state(self, name: str) -> str | None:
        """Unknown without another download."""
        return None

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Downloads the file."""
        self._source.download(self.where, target, max_bytes)


def _save(answer: httpx.Response, url: str, target: Path, max_bytes: int, deadline: float) -> None:
    status = answer.status_code
    if status in (408, 425, 429) or status >= 500:
        raise LoraFetchFailed(f"{url}: its server answers {status}")
    if status != 200:
        raise LoraNotFound(f"{url}: its server answers {status}")
    announced = answer.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise LoraTooLarge(f"{url} has {announced} bytes, allowed are {max_bytes}")
    written = 0
    with target.open("wb") as file:
        for chunk in answer.iter_bytes(CHUNK_BYTES):
            written += len(chunk)
            if written > max_bytes:
                raise LoraTooLarge(f"{url} has more than the allowed {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise LoraFetchFailed(
                    f"{url}: not downloaded within LORAJOBS_FETCH_TIMEOUT_S; it came to {written} "
                    "bytes"
                )
            file.write(chunk)
