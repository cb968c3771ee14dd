"""Pictures on web servers: fetched once, when a job names them."""

from lorajobs.document import without_secrets
from lorajobs.guarded_http import Answer, BodyTooLarge, GuardedHttp, TooSlow, Unreachable
from lorajobs.image_errors import ImageFetchFailed, ImageNotFound, ImageTooLarge
from lorajobs.reach import Reach
from lorajobs.settings import Settings

_MAX_REDIRECTS = 3
_HEADERS = {"accept": "image/*", "accept-encoding": "identity", "user-agent": "lorajobs"}


class ImageUrls:
    """Fetches files from URLs; each address and each redirect is vetted before it is asked."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet."""
        self._http = GuardedHttp(Reach.of_requests(settings))
        self._timeout_s = settings.fetch_timeout_s
        self._max_bytes = settings.image_max_bytes

    def fetch(self, url: str) -> bytes:
        """The file, within `fetch_timeout_s` seconds in all.

        Raises: UrlNotAllowed, ImageNotFound, ImageTooLarge, ImageFetchFailed.
        """
        where = without_secrets(url)
        try:
            with self._http.ask(
                "GET", url, _HEADERS, within_s=self._timeout_s, redirects=_MAX_REDIRECTS
            ) as answer:
                _require_file(answer, where)
                return b"".join(answer.chunks(self._max_bytes))
        except BodyTooLarge as error:
            raise ImageTooLarge(f"{where} {error}") from error
        except TooSlow as error:
            late = f"{where}: its server does not send it within LORAJOBS_FETCH_TIMEOUT_S"
            raise ImageFetchFailed(late) from error
        except Unreachable as error:
            raise ImageFetchFailed(f"{where}: the download broke off ({error})") from error


def _require_file(answer: Answer, where: str) -> None:
    status = answer.status
    if status in (408, 425, 429) or status >= 500:
        raise ImageFetchFailed(f"{where}: its server answers {status}")
    if status != 200:
        raise ImageNotFound(f"{where}: its server answers {status}")
