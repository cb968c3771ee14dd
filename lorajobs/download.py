"""One file from a URL that a request names: every address is vetted, size and time have an end."""

from collections.abc import Generator
from typing import NamedTuple

from lorajobs.errors import LoraJobsError
from lorajobs.guarded_http import Answer, BodyTooLarge, GuardedHttp, TooSlow, Unreachable
from lorajobs.reach import Reach
from lorajobs.settings import Settings

MAX_REDIRECTS = 3


class Faults(NamedTuple):
    """What each end of a download means for whoever asked for it."""

    #: the file is larger than allowed
    too_large: type[LoraJobsError]
    #: the server has no such file, and will not have it later
    missing: type[LoraJobsError]
    #: it may come another time
    failed: type[LoraJobsError]


class Downloads:
    """Fetches files; each address and each redirect is vetted before it is asked."""

    def __init__(self, settings: Settings, accept: str, faults: Faults) -> None:
        """`accept` is the kinds of files, as HTTP names them. Asks nobody yet."""
        self._http = GuardedHttp(Reach.of_requests(settings))
        self._timeout_s = settings.fetch_timeout_s
        self._faults = faults
        # Compression could make a small answer large, and neither weights nor pictures shrink.
        self._headers = {
            "accept": accept,
            "accept-encoding": "identity",
            "user-agent": "lorajobs",
        }

    def vet(self, url: str) -> None:
        """Asks nothing of the server.

        Raises: UrlNotAllowed.
        """
        self._http.reach.vet(url)

    def chunks(self, url: str, max_bytes: int, where: str) -> Generator[bytes]:
        """The file in pieces, within `fetch_timeout_s` seconds in all; errors call it `where`.

        Raises: UrlNotAllowed, also for a redirect's target; the three faults.
        """
        faults = self._faults
        try:
            with self._http.ask(
                "GET", url, self._headers, within_s=self._timeout_s, redirects=MAX_REDIRECTS
            ) as answer:
                self._require_file(answer, where)
                yield from answer.chunks(max_bytes)
        except BodyTooLarge as error:
            raise faults.too_large(f"{where} {error}") from error
        except TooSlow as error:
            late = f"{where}: its server does not send it within LORAJOBS_FETCH_TIMEOUT_S"
            raise faults.failed(late) from error
        except Unreachable as error:
            raise faults.failed(f"{where}: the download broke off ({error})") from error

    def _require_file(self, answer: Answer, where: str) -> None:
        status = answer.status
        if status in (408, 425, 429) or status >= 500:
            raise self._faults.failed(f"{where}: its server answers {status}")
        if status != 200:
            raise self._faults.missing(f"{where}: its server answers {status}")
