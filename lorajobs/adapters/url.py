"""Adapters on a web server: one file, downloaded once when it is named."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.reference import Reference, UrlReference
from lorajobs.errors import LoraFetchFailed, LoraNotFound, LoraTooLarge
from lorajobs.guarded_http import Answer, BodyTooLarge, GuardedHttp, TooSlow, Unreachable
from lorajobs.reach import Reach
from lorajobs.settings import Settings

MAX_REDIRECTS = 3
#: Compression could make a small answer large, and weights do not shrink.
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "lorajobs"}


class UrlSource:
    """Opens https URLs; each address and each redirect is vetted before it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._http = GuardedHttp(Reach.of_requests(settings))
        self._timeout_s = settings.fetch_timeout_s

    def open(self, reference: Reference, trust: Trust, where: str) -> "UrlFolder":
        """Vets the URL; nothing is asked of its server yet.

        Raises: UrlNotAllowed.
        """
        assert isinstance(reference, UrlReference)
        self._http.reach.vet(reference.url)
        return UrlFolder(self, reference.url, where)

    def download(self, url: str, target: Path, max_bytes: int, where: str) -> None:
        """Streams the file into `target`, within `fetch_timeout_s` seconds in all.

        Raises: UrlNotAllowed for a redirect's target, LoraTooLarge, LoraNotFound, LoraFetchFailed.
        """
        try:
            with self._http.ask(
                "GET", url, _HEADERS, within_s=self._timeout_s, redirects=MAX_REDIRECTS
            ) as answer:
                _require_file(answer, where)
                with target.open("wb") as file:
                    for chunk in answer.chunks(max_bytes):
                        file.write(chunk)
        except BodyTooLarge as error:
            raise LoraTooLarge(f"{where} {error}") from error
        except TooSlow as error:
            late = f"{where}: its server does not send it within LORAJOBS_FETCH_TIMEOUT_S"
            raise LoraFetchFailed(late) from error
        except Unreachable as error:
            raise LoraFetchFailed(f"{where}: the download broke off ({error})") from error


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


def _require_file(answer: Answer, where: str) -> None:
    status = answer.status
    if status in (408, 425, 429) or status >= 500:
        raise LoraFetchFailed(f"{where}: its server answers {status}")
    if status != 200:
        raise LoraNotFound(f"{where}: its server answers {status}")
