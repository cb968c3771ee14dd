"""Adapters on a web server: one file, downloaded once when it is named."""

import ssl
import time
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
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
        self._stall_s = min(STALL_S, settings.fetch_timeout_s)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the certificates of all authorities takes longer than a small download.
        return httpx.create_ssl_context(trust_env=False)

    def open(self, reference: Reference, trust: Trust, where: str) -> "UrlFolder":
        """Vets the URL; nothing is asked of its server yet.

        Raises: UrlNotAllowed.
        """
        assert isinstance(reference, UrlReference)
        require_allowed(reference.url, self._allow_private)
        return UrlFolder(self, reference.url, where)

    def download(self, url: str, target: Path, max_bytes: int, where: str) -> None:
        """Streams the file into `target`, within `fetch_timeout_s` seconds in all.

        Raises: UrlNotAllowed for a redirect's target, LoraTooLarge, LoraNotFound, LoraFetchFailed.
        """
        deadline = time.monotonic() + self._timeout_s
        # No proxy of the environment: it would connect to addresses that nobody vetted.
        with httpx.Client(verify=self._tls, trust_env=False, timeout=self._stall_s) as client:
            try:
                with closing(self._answer(client, url, where)) as answer:
                    _save(answer, where, target, max_bytes, deadline)
            except httpx.TimeoutException as error:
                raise LoraFetchFailed(f"{where}: its server does not answer in time") from error
            except httpx.InvalidURL as error:
                raise UrlNotAllowed(f"{where}: {error}") from error
            except httpx.HTTPError as error:
                what = type(error).__name__
                raise LoraFetchFailed(f"{where}: the download broke off ({what})") from error

    def _answer(self, client: httpx.Client, url: str, where: str) -> httpx.Response:
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
        raise LoraFetchFailed(f"{where}: more than {MAX_REDIRECTS} redirects")


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


def _save(
    answer: httpx.Response, where: str, target: Path, max_bytes: int, deadline: float
) -> None:
    status = answer.status_code
    if status in (408, 425, 429) or status >= 500:
        raise LoraFetchFailed(f"{where}: its server answers {status}")
    if status != 200:
        raise LoraNotFound(f"{where}: its server answers {status}")
    announced = answer.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise LoraTooLarge(f"{where} has {announced} bytes, allowed are {max_bytes}")
    written = 0
    with target.open("wb") as file:
        for chunk in answer.iter_bytes(CHUNK_BYTES):
            written += len(chunk)
            if written > max_bytes:
                raise LoraTooLarge(f"{where} has more than the allowed {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise LoraFetchFailed(
                    f"{where}: only {written} bytes came within LORAJOBS_FETCH_TIMEOUT_S"
                )
            file.write(chunk)
