"""Pictures on web servers: fetched once, when a job names them."""

from lorajobs.document import without_secrets
from lorajobs.download import Downloads, Faults
from lorajobs.image_errors import ImageFetchFailed, ImageNotFound, ImageTooLarge
from lorajobs.settings import Settings

_FAULTS = Faults(ImageTooLarge, ImageNotFound, ImageFetchFailed)


class ImageUrls:
    """Fetches files from URLs; each address and each redirect is vetted before it is asked."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet."""
        self._downloads = Downloads(settings, "image/*", _FAULTS)
        self._max_bytes = settings.image_max_bytes

    def fetch(self, url: str) -> bytes:
        """The file, within `fetch_timeout_s` seconds in all.

        Raises: UrlNotAllowed, ImageNotFound, ImageTooLarge, ImageFetchFailed.
        """
        return b"".join(self._downloads.chunks(url, self._max_bytes, without_secrets(url)))
