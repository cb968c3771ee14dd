"""The object store as the rest sees it; S3 and the local folder pass one contract suite."""

import errno
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol


class SignedUrl(NamedTuple):
    """A URL that anybody may read until it expires."""

    url: str
    expires_at: datetime


#: Of files that are sent to the store.
UPLOAD_TYPE = "application/octet-stream"


class SignedUpload(NamedTuple):
    """A URL to which anybody may PUT one file until it expires."""

    url: str
    #: they belong to the signature: the PUT must carry them, and a Content-Length
    headers: Mapping[str, str]
    expires_at: datetime


class Body(Protocol):
    """What is being sent."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, empty at the end."""


class ObjectStore(Protocol):
    """Objects by key; keys are `/`-separated and already safe."""

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores bytes, replacing what was there.

        Raises: UploadFailed.
        """

    def keep(self, path: Path, key_of: Callable[[str], str]) -> str:
        """Stores a file under the key for its SHA-256, which it returns, in hex.

        What is there already need not come again. Raises: UploadFailed.
        """

    def fetch(self, key: str, target: Path, max_bytes: int) -> None:
        """Copies an object into the file `target`.

        Raises: FileNotFoundError, LoraTooLarge, OSError.
        """

    def read(self, key: str, max_bytes: int) -> bytes:
        """An object's bytes.

        Raises: FileNotFoundError, OSError, also for an object of more than `max_bytes`.
        """

    def exists(self, key: str) -> bool:
        """True if the object is there.

        Raises: OSError.
        """

    def url(self, key: str) -> SignedUrl:
        """Signs a fresh URL that lives `url_ttl_s` seconds; the object need not be there.

        Raises: OSError.
        """

    def upload_url(self, key: str, size: int, sha256: str, ttl_s: int) -> SignedUpload:
        """Signs a URL that takes just these bytes as the object, as often as they are sent.

        An S3 that knows no checksums takes any of this size: look at what came.
        Raises: OSError.
        """

    def delete(self, prefix: str) -> None:
        """Erases every object whose key begins with `prefix`, if there is any.

        Raises: ValueError for an empty prefix, OSError.
        """


def within(data: bytes, max_bytes: int, key: str) -> bytes:
    """The bytes as they are.

    Raises: OSError if there are too many.
    """
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes", key)
    return data
