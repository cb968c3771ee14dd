"""Where adapters come from, by the reference of a request and by the location of a pinned file."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lorajobs.adapters.bucket import BucketSource
from lorajobs.adapters.folder import Source
from lorajobs.adapters.location import Blob, HubFile, Location, S3Version
from lorajobs.adapters.path import PathSource
from lorajobs.adapters.reference import Reference
from lorajobs.adapters.upload import SCHEME, UploadSource
from lorajobs.adapters.url import UrlSource
from lorajobs.errors import LoraNotFound
from lorajobs.settings import Settings
from lorajobs.spec import PinnedFile
from lorajobs.storage.base import ObjectStore

if TYPE_CHECKING:
    from lorajobs.adapters.hub import HubSource

#: Headers of thousands of tensors are a quarter of that, and a submit must not wait longer.
PROBE_BYTES = 1 << 20
PROBE_S = 5.0


class Sources:
    """The hub, buckets, web servers, this machine's paths, uploads, and our own snapshots."""

    def __init__(self, settings: Settings, objects: ObjectStore) -> None:
        """Connects to nothing yet."""
        self._settings = settings
        self._objects = objects
        self._buckets = BucketSource(settings)
        self._others: dict[str, Source] = {
            "s3": self._buckets,
            "https": UrlSource(settings),
            "path": PathSource(settings),
            SCHEME: UploadSource(),
        }

    @cached_property
    def hub(self) -> "HubSource":
        """The hub; its client takes a while to import, and adapters from elsewhere do without."""
        from lorajobs.adapters.hub import HubSource

        return HubSource(self._settings)

    def of(self, reference: Reference) -> Source:
        """Who opens such references."""
        return self.hub if reference.scheme == "hf" else self._others[reference.scheme]

    def start(self, location: Location, trusted: bool) -> bytes | None:
        """The first bytes of a pinned file; None if its source sends no parts of files.

        Raises: LoraFetchFailed, LoraNotFound, HubGated.
        """
        match location:
            case HubFile():
                return self.hub.start(location, trusted, PROBE_BYTES, PROBE_S)
            case S3Version():
                return self._buckets.start(location, PROBE_BYTES)
            case Blob():
                # Looked at when it was pinned.
                return None

    def fetch(self, adapter: PinnedFile, location: Location, target: Path, name: str) -> None:
        """Copies a pinned file, which errors call `name`, into `target`.

        Raises: LoraFetchFailed, LoraNotFound, LoraTooLarge, HubGated.
        """
        most = self._settings.lora_max_bytes
        match location:
            case HubFile():
                self.hub.fetch(location, adapter.trusted, target)
            case S3Version():
                self._buckets.fetch(location, target, most)
            case Blob():
                try:
                    self._objects.fetch(location.key, target, most)
                except FileNotFoundError as error:
                    raise LoraNotFound(
                        f"{name}: its snapshot {location} is not in the object store; "
                        "register it again, and see that API and workers share one store"
                    ) from error
