"""Adapters in S3 buckets, below the prefixes that the operator names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import WEIGHT_SUFFIXES, Pin, Trust
from lorajobs.adapters.location import S3Version
from lorajobs.adapters.reference import Reference, S3Reference
from lorajobs.errors import LoraFetchFailed, LoraNotFound, LoraTooLarge, UrlNotAllowed
from lorajobs.settings import Settings

if TYPE_CHECKING:
    from lorajobs.storage.s3 import S3Object, S3Source


class BucketSource:
    """Opens objects and folders; the operator's own file may name any, others only `lora_s3`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _s3(self) -> "S3Source":
        # boto3 takes a while to import, and most installations name no bucket.
        from lorajobs.storage.s3 import open_s3_source

        return open_s3_source(self._settings)

    def open(self, reference: Reference, trust: Trust, where: str) -> "BucketFolder":
        """Checks that the bucket and key are allowed.

        Raises: UrlNotAllowed naming the setting, ConfigError if S3 is not set up.
        """
        assert isinstance(reference, S3Reference)
        if trust is not Trust.CONFIGURED and not self._allows(reference):
            raise UrlNotAllowed(
                f"{where} lies outside the buckets and prefixes of LORAJOBS_LORA_S3"
                + ("" if self._settings.lora_s3 else ", which is empty")
            )
        return BucketFolder(self._s3, reference, self._settings.lora_max_bytes, where)

    def fetch(self, version: S3Version, target: Path, max_bytes: int) -> None:
        """Copies one version of an object into `target`.

        Raises: LoraNotFound, LoraTooLarge, LoraFetchFailed.
        """
        with translated(str(version)):
            self._s3.fetch(version.bucket, version.key, version.version_id, target, max_bytes)

    def start(self, version: S3Version, most: int) -> bytes | None:
        """The first bytes of one version, at most so many; None if S3 sends no parts of objects.

        Raises: LoraNotFound, LoraFetchFailed.
        """
        with translated(str(version)):
            return self._s3.start(version.bucket, version.key, version.version_id, most)

    def _allows(self, reference: S3Reference) -> bool:
        # Whole segments: `loras` must not open `loras-private`.
        asked = f"{reference.bucket}/{reference.key.rstrip('/')}/"
        entries = (entry.strip("/") for entry in self._settings.lora_s3)
        return any(entry and asked.startswith(f"{entry}/") for entry in entries)


class BucketFolder:
    """One object, or the objects directly in a folder."""

    card: Card | None = None

    def __init__(self, s3: "S3Source", reference: S3Reference, max_bytes: int, where: str) -> None:
        self.where = where
        self._s3 = s3
        self._bucket = reference.bucket
        self._max_bytes = max_bytes
        is_file = reference.key.lower().endswith(WEIGHT_SUFFIXES)
        folder, slash, name = reference.key.rpartition("/")
        self._single = name if is_file else None
        self._prefix = folder + slash if is_file else reference.key.rstrip("/") + "/"

    @cached_property
    def names(self) -> Sequence[str]:
        """The files, relative to the folder."""
        if self._single:
            return [self._single]
        with translated(self.where):
            keys = self._s3.list(self._bucket, self._prefix)
        return [key.removeprefix(self._prefix) for key in keys]

    def pin(self, name: str) -> Pin | None:
        """The version id, if the bucket keeps versions and S3 keeps the file's sha256."""
        found = self._head(name)
        if found.bytes > self._max_bytes:
            raise LoraTooLarge(
                f"{self.where} has {found.bytes} bytes, allowed are {self._max_bytes}"
            )
        if not found.version_id or not found.sha256:
            return None
        location = S3Version(self._bucket, self._prefix + name, found.version_id)
        return Pin(location, found.version_id, found.sha256, found.bytes)

    def state(self, name: str) -> str | None:
        """Unknown without another request."""
        return None

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Downloads the newest version."""
        with translated(self.where):
            self._s3.fetch(self._bucket, self._prefix + name, None, target, max_bytes)

    def _head(self, name: str) -> "S3Object":
        with translated(self.where):
            return self._s3.head(self._bucket, self._prefix + name)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turns S3's OSErrors into our words."""
    try:
        yield
    except FileNotFoundError as error:
        raise LoraNotFound(f"{where} does not exist") from error
    except PermissionError as error:
        raise LoraNotFound(f"{where} may not be read with the server's S3 keys") from error
    except OSError as error:
        raise LoraFetchFailed(f"{where}: {error.strerror or error}") from error
