"""Pictures that clients uploaded for jobs to come, as the store remembers them."""

from collections.abc import Sequence
from typing import Protocol

from lorajobs.spec import Frozen


class UploadedImage(Frozen):
    """One uploaded picture of one API key; it is named by its content."""

    owner: str
    #: of the file as it was sent
    sha256: str
    #: of the upright picture, in pixels
    width: int
    height: int
    bytes: int
    content_type: str
    #: of its object
    key: str
    #: Unix milliseconds of the store
    expires_ms: int = 0

    @property
    def id(self) -> str:
        """What the `image` of a job names it by."""
        return f"image-{self.sha256}"


class ImageRecords(Protocol):
    """Who remembers uploads, and objects that are to be erased; each verb raises StoreUnavailable.

    Erasing is promised before an object is stored, so that none outlives a crash.
    """

    def find(self, owner: str, sha256: str) -> UploadedImage | None:
        """The picture of this content that the key uploaded, until it expires."""

    def put(self, image: UploadedImage, ttl_s: float) -> UploadedImage:
        """Remembers a picture for so long, in place of an earlier one of its owner and content."""

    def remove(self, image: UploadedImage) -> None:
        """Forgets a picture; its object is to be erased."""

    def expect(self, key: str, after_s: float) -> None:
        """Has an object erased after so many seconds from now on."""

    def due(self, limit: int) -> Sequence[str]:
        """Keys of objects that are to be erased now."""

    def forget(self, key: str) -> None:
        """Says that an object is erased, or need not be."""
