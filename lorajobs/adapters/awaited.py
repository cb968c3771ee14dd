"""Adapters whose files are still to come: announced, sent to the object store, then registered."""

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import LoraRecord
from lorajobs.adapters.upload import SCHEME, Upload, stored
from lorajobs.api_keys import Caller
from lorajobs.catalog import LoraEntry
from lorajobs.errors import (
    FieldError,
    LoraFetchFailed,
    LoraNotRegistered,
    LoraRefused,
    LoraTooLarge,
    StorageUnavailable,
)
from lorajobs.settings import Settings
from lorajobs.spec import Frozen, Visibility
from lorajobs.storage.base import ObjectStore, SignedUpload
from lorajobs.upload_errors import UploadAwaited

_log = logging.getLogger(__name__)

#: A transfer that began just before its URL expired may take so much longer, seconds.
GRACE_S = 3600


class AwaitedUpload(Frozen):
    """A registration without its adapter, and the file that was announced for it."""

    record: LoraRecord
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """By what it is known, as the record's."""
        return self.record.name

    @property
    def key(self) -> str:
        """Where in the object store the file is awaited."""
        return key_of(self.name)


class AwaitedStore(Protocol):
    """Who keeps what is awaited, by name; every verb raises StoreUnavailable."""

    def put(self, upload: AwaitedUpload, keep_s: float) -> None:
        """Awaits a file for so many seconds, instead of an earlier one of its name."""

    def get(self, *names: str) -> AwaitedUpload | None:
        """What is awaited under the first of these names that has something."""

    def close(self, name: str) -> bool:
        """Awaits it no more; False if it was not. Its name is still spent at its time."""

    def spent(self, limit: int) -> Sequence[str]:
        """Names whose time is over, oldest first."""

    def forget(self, name: str) -> bool:
        """Drops a name that is spent; False if it is awaited anew."""


class Begun(NamedTuple):
    """What a client gets that announced a file."""

    record: LoraRecord
    signed: SignedUpload


class AwaitedUploads:
    """What one API knows of them; each is there for its owner alone."""

    def __init__(
        self, settings: Settings, library: Library, store: AwaitedStore, objects: ObjectStore
    ) -> None:
        self._max_bytes = settings.lora_max_bytes
        self._ttl_s = settings.upload_ttl_s
        self._library = library
        self._store = store
        self._objects = objects

    def begin(
        self, entry: LoraEntry, caller: Caller, visibility: Visibility, size: int, sha256: str
    ) -> Begun:
        """Signs a URL for the file; the same id again begins anew.

        Raises: ValidationFailed, UnknownModel, LoraTooLarge; StorageUnavailable, StoreUnavailable.
        """
        if size > self._max_bytes:
            detail = f"the file has {size} bytes, allowed are {self._max_bytes}"
            raise LoraTooLarge(detail, FieldError("/upload/bytes", detail))
        record = self._library.draft(entry, caller, visibility)
        upload = AwaitedUpload(record=record, bytes=size, sha256=sha256)
        try:
            signed = self._objects.upload_url(upload.key, size, sha256, self._ttl_s)
        except OSError as error:
            raise StorageUnavailable(f"no upload can be signed: {error}") from error
        self._store.put(upload, self._ttl_s + GRACE_S)
        return Begun(record, signed)

    def find(self, lora_id: str, caller: Caller) -> AwaitedUpload | None:
        """What the caller announced under this id.

        Raises: StoreUnavailable.
        """
        found = self._store.get(f"{caller.owner}:{lora_id}", lora_id)
        return found if found and found.record.owner == caller.owner else None

    def complete(self, lora_id: str, caller: Caller) -> LoraRecord:
        """Registers the adapter whose file came; one that is refused is awaited no more.

        Raises: LoraNotRegistered, UploadAwaited, UploadMismatch, and as `Library.register`.
        """
        upload = self.find(lora_id, caller)
        if upload is None:
            return self._completed(lora_id, caller)
        try:
            record = self._registered(upload, caller)
        except LoraRefused:
            self._drop(upload)
            raise
        except (UploadAwaited, LoraFetchFailed):
            if self.find(lora_id, caller) is None:
                # Another call took the file meanwhile.
                return self._completed(lora_id, caller)
            raise
        self._drop(upload)
        return record

    def _completed(self, lora_id: str, caller: Caller) -> LoraRecord:
        """What was completed before, as after a lost reply.

        Raises: LoraNotRegistered, StoreUnavailable.
        """
        ready = self._library.find(lora_id, caller)
        if ready and ready.owner == caller.owner and ready.source.startswith(f"{SCHEME}:"):
            return ready
        raise LoraNotRegistered(f"no upload is awaited for {lora_id!r}")

    def _registered(self, upload: AwaitedUpload, caller: Caller) -> LoraRecord:
        """Raises: UploadAwaited, and as `Library.register`."""
        if not self._has_come(upload):
            raise UploadAwaited(
                f"the file of {upload.record.id} is not in the object store: PUT it there"
            )
        bring = stored(self._objects, upload.key, upload.bytes, upload.sha256)
        file = Upload(f"{upload.record.id}.safetensors", bring)
        # An entry of the file can show an example too; a record tells all else.
        told = LoraEntry.model_fields.keys() & LoraRecord.model_fields.keys()
        said = {name: getattr(upload.record, name) for name in told}
        entry = LoraEntry.model_validate(said)
        return self._library.register(entry, caller, upload.record.visibility, file)

    def drop(self, lora_id: str, caller: Caller) -> bool:
        """Awaits no file under this id any more; False if none was.

        Raises: StorageUnavailable, StoreUnavailable.
        """
        upload = self.find(lora_id, caller)
        if upload is None:
            return False
        self._drop(upload)
        return True

    def _drop(self, upload: AwaitedUpload) -> None:
        if self._store.get(upload.name) != upload:
            # Announced anew meanwhile: what is in its place now is another file.
            return
        # The URL may still be good: what comes by it is erased at its time.
        self._store.close(upload.name)
        try:
            self._objects.delete(upload.key)
        except OSError as error:
            raise StorageUnavailable(f"{upload.key} was not erased: {error}") from error

    def _has_come(self, upload: AwaitedUpload) -> bool:
        try:
            return self._objects.exists(upload.key)
        except OSError as error:
            raise StorageUnavailable(f"{upload.key} cannot be looked at: {error}") from error


def sweep(store: AwaitedStore, objects: ObjectStore, limit: int) -> None:
    """Erases files that were sent and never registered, so many at most.

    Raises: StoreUnavailable.
    """
    for name in store.spent(limit):
        try:
            # The file first: if this fails, the name still tells of it.
            objects.delete(key_of(name))
        except OSError as error:
            # One that cannot be erased must not hold up the others.
            _log.warning("the upload of %s is not erased yet: %s", name, error)
        else:
            store.forget(name)


def key_of(name: str) -> str:
    """Where the file of this name is awaited: one place, so that a later one replaces it."""
    return f"incoming/{hashlib.sha256(name.encode()).hexdigest()}.safetensors"
