"""A local folder as object store, read through URLs of the API that expire."""

import errno
import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from lorajobs.adapters.digest import sha256_of
from lorajobs.errors import ConfigError, LoraTooLarge, UploadFailed
from lorajobs.storage.base import UPLOAD_TYPE, Body, SignedUpload, SignedUrl, within
from lorajobs.upload_errors import UploadMismatch

SIGNING_KEY_BYTES = 32
_CHUNK = 1 << 20


class Announced(NamedTuple):
    """What the URL of an upload says of it, as text."""

    bytes: str
    sha256: str
    expires: str


class FolderStore:
    """Objects are files below `root`; whatever else lies there has a name with a leading dot."""

    def __init__(self, root: Path, public_url: str, ttl_s: int) -> None:
        """Opens the folder, made if missing; its URLs begin with `public_url`, the API's own.

        Raises: ConfigError if the signing key is damaged, OSError.
        """
        self._root = root
        self._incoming = root / ".incoming"
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._signing_key = _signing_key(root / ".signing-key")
        self._public_url = public_url.rstrip("/")
        self._ttl_s = ttl_s

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores bytes, whole or not at all; readers tell the type by the suffix.

        Raises: UploadFailed.
        """
        self._path(key)
        try:
            with _draft(self._incoming) as draft:
                draft.write_bytes(data)
                _flush(draft)
                self._name(draft, key)
        except OSError as error:
            raise UploadFailed(f"{key} was not stored: {error.strerror}") from error

    def keep(self, path: Path, key_of: Callable[[str], str]) -> str:
        """Stores a file under the key for its SHA-256, whole or not at all.

        Raises: UploadFailed.
        """
        try:
            with _draft(self._incoming) as draft, ThreadPoolExecutor(1) as beside:
                # The disk takes the copy meanwhile, which lasts as long.
                hashed = beside.submit(sha256_of, path)
                shutil.copyfile(path, draft)
                _flush(draft)
                sha256 = hashed.result()
                self._name(draft, key_of(sha256))
        except OSError as error:
            raise UploadFailed(f"the file was not stored: {error.strerror}") from error
        return sha256

    def fetch(self, key: str, target: Path, max_bytes: int) -> None:
        """Copies an object into the file `target`, which is gone again if that fails.

        Raises: FileNotFoundError, LoraTooLarge, OSError.
        """
        path = self._existing(key)
        with path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            if size > max_bytes:
                raise LoraTooLarge(f"{key} has {size} bytes, allowed are {max_bytes}")
            try:
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
            except BaseException:
                target.unlink(missing_ok=True)
                raise

    def read(self, key: str, max_bytes: int) -> bytes:
        """An object's bytes.

        Raises: FileNotFoundError, OSError, also for an object of more than `max_bytes`.
        """
        with self._existing(key).open("rb") as source:
            data = source.read(max_bytes + 1)
        return within(data, max_bytes, key)

    def exists(self, key: str) -> bool:
        """True if the object is there."""
        return self._path(key).is_file()

    def url(self, key: str) -> SignedUrl:
        """Signs a fresh URL of the API that lives `ttl_s` seconds."""
        self._path(key)
        expires = int(time.time()) + self._ttl_s
        query = f"expires={expires}&signature={self._signature(key, expires)}"
        url = f"{self._public_url}/files/{quote(key)}?{query}"
        return SignedUrl(url, datetime.fromtimestamp(expires, UTC))

    def open_signed(self, key: str, expires: int | str, signature: str) -> Path:
        """The file that a URL of this store names.

        Raises: PermissionError if the URL was not signed here or has expired, FileNotFoundError.
        """
        expected = self._signature(key, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            raise PermissionError(errno.EACCES, "the signature does not match", key)
        # Only now are key and expiry known to be our own words.
        if int(expires) <= time.time():
            raise PermissionError(errno.EACCES, "the URL has expired", key)
        return self._existing(key)

    def upload_url(self, key: str, size: int, sha256: str, ttl_s: int) -> SignedUpload:
        """Signs a URL of the API, see `receive`."""
        self._path(key)
        expires = int(time.time()) + ttl_s
        said = Announced(str(size), sha256, str(expires))
        query = f"bytes={size}&sha256={sha256}&expires={expires}"
        query += f"&signature={self._upload_signature(key, said)}"
        url = f"{self._public_url}/files/{quote(key)}?{query}"
        return SignedUpload(
            url, {"Content-Type": UPLOAD_TYPE}, datetime.fromtimestamp(expires, UTC)
        )

    def receive(self, key: str, said: Announced, signature: str, body: Body) -> None:
        """Stores what is sent to a URL of `upload_url`, if it is what that says.

        Raises: PermissionError if the URL was not signed here or has expired, UploadMismatch,
        UploadFailed.
        """
        expected = self._upload_signature(key, said)
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            raise PermissionError(errno.EACCES, "the signature does not match", key)
        if int(said.expires) <= time.time():
            raise PermissionError(errno.EACCES, "the URL has expired", key)
        try:
            with _draft(self._incoming) as draft:
                _write(draft, body, int(said.bytes), said.sha256)
                _flush(draft)
                self._name(draft, key)
        except OSError as error:
            raise UploadFailed(f"{key} was not stored: {error.strerror}") from error

    def delete(self, prefix: str) -> None:
        """Erases every object whose key begins with `prefix`, and the folder that it names.

        Raises: ValueError for an empty prefix, which would erase all; OSError.
        """
        if not prefix or prefix.startswith("/"):
            raise ValueError("delete needs a prefix")
        name, _, stem = prefix.rpartition("/")
        folder = self._path(name) if name else self._root
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in list(folder.iterdir()):
                if entry.name.startswith(stem) and not entry.name.startswith("."):
                    _erase(entry)
        if not stem:
            # Never a folder above: others may be about to write into it.
            with suppress(OSError):
                folder.rmdir()

    def _name(self, draft: Path, key: str) -> None:
        """Makes a file that was flushed the object."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(target)

    def _path(self, key: str) -> Path:
        """Raises: ValueError for a key that leaves the folder or names what is no object."""
        if "\0" in key or any(not part or part.startswith(".") for part in key.split("/")):
            raise ValueError(f"not a key of an object: {key!r}")
        return self._root / key

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such object", key)
        return path

    def _signature(self, key: str, expires: int | str) -> str:
        # No key holds a NUL, so no other pair of expiry and key makes the same text.
        text = f"{expires}\0{key}".encode(errors="surrogatepass")
        return hmac.new(self._signing_key, text, "sha256").hexdigest()

    def _upload_signature(self, key: str, said: Announced) -> str:
        # By a key of its own, so that no URL to read is one to write, nor the other way round.
        text = "\0".join((*said, key)).encode(errors="surrogatepass")
        return hmac.new(self._signing_key + b"upload", text, "sha256").hexdigest()


def _write(target: Path, body: Body, size: int, sha256: str) -> None:
    """Raises: UploadMismatch, as soon as there is too much."""
    has, digest = 0, hashlib.sha256()
    with target.open("wb") as file:
        while chunk := body.read(_CHUNK):
            has += len(chunk)
            if has > size:
                raise UploadMismatch(f"the file has more than the {size} bytes announced")
            digest.update(chunk)
            file.write(chunk)
    if (has, digest.hexdigest()) != (size, sha256):
        raise UploadMismatch.of("the file", size, sha256, has, digest.hexdigest())


def _signing_key(file: Path) -> bytes:
    """Reads the key that all processes on this folder share; the first one makes it.

    Raises: ConfigError, OSError.
    """
    if not file.exists():
        with _draft(file.parent / ".incoming") as draft:
            draft.write_bytes(secrets.token_bytes(SIGNING_KEY_BYTES))
            _flush(draft)
            # Unlike a rename, a link never replaces the key that another process just made.
            with suppress(FileExistsError):
                os.link(draft, file)
    key = file.read_bytes()
    if len(key) != SIGNING_KEY_BYTES:
        raise ConfigError(f"{file} is damaged: delete it, and URLs signed so far end")
    return key


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """An empty file, readable by this user only, that is gone afterwards unless it was moved."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _flush(file: Path) -> None:
    """Makes the content outlive a power cut before a name promises it."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _erase(entry: Path) -> None:
    """Erases a file or a folder, also while others write into it or erase it."""
    if not entry.is_dir():
        entry.unlink(missing_ok=True)
        return
    for folder, _, files in os.walk(entry, topdown=False):
        for file in files:
            Path(folder, file).unlink(missing_ok=True)
        with suppress(OSError):
            Path(folder).rmdir()
