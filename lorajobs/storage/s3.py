"""S3-compatible storage: the store of pictures, and buckets that adapters come from."""

import base64
import errno
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from lorajobs.adapters.digest import sha256_of
from lorajobs.errors import ConfigError, LoraTooLarge, UploadFailed
from lorajobs.settings import Settings
from lorajobs.storage.base import UPLOAD_TYPE, SignedUpload, SignedUrl, within
from lorajobs.storage.s3_client import client_of, session_of
from lorajobs.storage.s3_errors import reason, translated

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef, HeadObjectOutputTypeDef

CHUNK_BYTES = 1 << 20


class S3Object(NamedTuple):
    """What is known of an object without reading it."""

    #: None unless the bucket keeps versions
    version_id: str | None
    etag: str
    bytes: int
    #: hex, if S3 checked and kept it
    sha256: str | None


class S3Store:
    """Pictures and snapshots in one bucket, below `s3_prefix`."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet.

        Raises: ConfigError naming the setting.
        """
        if not settings.s3_bucket:
            raise ConfigError("LORAJOBS_S3_BUCKET: name the bucket for pictures")
        session = session_of(settings)
        self._bucket = settings.s3_bucket
        self._prefix = f"{stem}/" if (stem := settings.s3_prefix.strip("/")) else ""
        self._ttl = timedelta(seconds=settings.url_ttl_s)
        self._client = client_of(session, settings, "s3_endpoint")
        # The host is part of the signature, so clients' URLs are signed for the host they see.
        self._signer = (
            client_of(session, settings, "s3_public_endpoint")
            if settings.s3_public_endpoint
            else self._client
        )

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores bytes, replacing what was there.

        Raises: UploadFailed.
        """
        name = self._prefix + key
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=name, Body=data, ContentType=content_type
            )
        except (ClientError, BotoCoreError) as error:
            raise UploadFailed(f"{key} was not stored: {reason(error)}") from error

    def keep(self, path: Path, key_of: Callable[[str], str]) -> str:
        """Stores a file in parts under the key for its SHA-256, unless it is there.

        Raises: UploadFailed.
        """
        extra = {"ContentType": UPLOAD_TYPE}
        try:
            sha256 = sha256_of(path)
            key = key_of(sha256)
            if not self.exists(key):
                self._client.upload_file(str(path), self._bucket, self._prefix + key, extra)
        except (ClientError, BotoCoreError, Boto3Error, OSError) as error:
            raise UploadFailed(f"the file was not stored: {reason(error)}") from error
        return sha256

    def fetch(self, key: str, target: Path, max_bytes: int) -> None:
        """Copies an object into the file `target`, which is gone again if that fails.

        Raises: FileNotFoundError, LoraTooLarge, OSError.
        """
        request: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._prefix + key}
        _download(self._client, request, target, max_bytes)

    def read(self, key: str, max_bytes: int) -> bytes:
        """An object's bytes.

        Raises: FileNotFoundError, OSError, also for an object of more than `max_bytes`.
        """
        name = self._prefix + key
        with translated(self._bucket, name):
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            with closing(answer["Body"]) as body:
                data = body.read(max_bytes + 1)
        return within(data, max_bytes, key)

    def exists(self, key: str) -> bool:
        """True if the object is there.

        Raises: OSError.
        """
        try:
            _head(self._client, self._bucket, self._prefix + key)
        except FileNotFoundError:
            return False
        return True

    def url(self, key: str) -> SignedUrl:
        """Signs a fresh URL on the public endpoint that lives `url_ttl_s` seconds.

        Raises: OSError if the credentials cannot be had.
        """
        name = self._prefix + key
        expires_at = datetime.now(UTC) + self._ttl
        with translated(self._bucket, name):
            url = self._signer.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": name},
                ExpiresIn=int(self._ttl.total_seconds()),
            )
        return SignedUrl(url, expires_at)

    def upload_url(self, key: str, size: int, sha256: str, ttl_s: int) -> SignedUpload:
        """Signs a PUT on the public endpoint whose length, type and checksum S3 sees to.

        Raises: OSError if the credentials cannot be had.
        """
        name = self._prefix + key
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        headers = {"Content-Type": UPLOAD_TYPE, "x-amz-checksum-sha256": checksum}
        params = {"ContentLength": size, "ContentType": UPLOAD_TYPE, "ChecksumSHA256": checksum}
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_s)
        with translated(self._bucket, name):
            url = self._signer.generate_presigned_url(
                "put_object",
                Params={"Bucket": self._bucket, "Key": name, **params},
                ExpiresIn=ttl_s,
            )
        return SignedUpload(url, headers, expires_at)

    def delete(self, prefix: str) -> None:
        """Erases every object whose key begins with `prefix`.

        Raises: ValueError for an empty prefix, which would erase all; OSError.
        """
        if not prefix or prefix.startswith("/"):
            raise ValueError("delete needs a prefix")
        pages = self._client.get_paginator("list_objects_v2")
        with translated(self._bucket, self._prefix + prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                self._erase([item["Key"] for item in page.get("Contents", ())])

    def _erase(self, names: Sequence[str]) -> None:
        """Erases at most a page of keys, which is also the most that one call takes."""
        if not names:
            return
        answer = self._client.delete_objects(
            Bucket=self._bucket,
            Delete={"Objects": [{"Key": name} for name in names], "Quiet": True},
        )
        if failures := answer.get("Errors"):
            first = failures[0]
            raise OSError(errno.EIO, f"S3 did not delete: {first.get('Code')}", first.get("Key"))


class S3Source:
    """Buckets that adapters are read from; nothing is written."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet.

        Raises: ConfigError naming the setting.
        """
        self._client = client_of(session_of(settings), settings, "s3_endpoint")

    def head(self, bucket: str, key: str) -> S3Object:
        """Asks for the newest version of an object.

        Raises: FileNotFoundError, PermissionError, OSError.
        """
        answer = _head(self._client, bucket, key)
        version = answer.get("VersionId")
        # The version called "null" is the one that is overwritten while versioning is off.
        return S3Object(
            version_id=None if version == "null" else version,
            etag=answer["ETag"].strip('"'),
            bytes=answer["ContentLength"],
            sha256=_sha256(answer),
        )

    def list(self, bucket: str, prefix: str) -> Sequence[str]:
        """Keys directly in the folder `prefix`, sorted, without those in folders below it.

        Raises: FileNotFoundError for a missing bucket, PermissionError, OSError.
        """
        folder = f"{stem}/" if (stem := prefix.rstrip("/")) else ""
        pages = self._client.get_paginator("list_objects_v2")
        with translated(bucket, folder):
            return sorted(
                item["Key"]
                for page in pages.paginate(Bucket=bucket, Prefix=folder, Delimiter="/")
                for item in page.get("Contents", ())
                # Consoles draw an empty folder as an empty object of its name.
                if item["Key"] != folder
            )

    def fetch(
        self, bucket: str, key: str, version_id: str | None, target: Path, max_bytes: int
    ) -> None:
        """Copies one version, the newest if None, into the file `target`.

        Raises: FileNotFoundError, PermissionError, LoraTooLarge, OSError.
        """
        request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if version_id:
            request["VersionId"] = version_id
        _download(self._client, request, target, max_bytes)

    def start(self, bucket: str, key: str, version_id: str, most: int) -> bytes | None:
        """The first bytes of one version, at most so many; None if S3 sends no parts of objects.

        Raises: FileNotFoundError, PermissionError, OSError.
        """
        with translated(bucket, key):
            answer = self._client.get_object(
                Bucket=bucket, Key=key, VersionId=version_id, Range=f"bytes=0-{most - 1}"
            )
            with closing(answer["Body"]) as body:
                return body.read(most) if "ContentRange" in answer else None


def open_s3_source(settings: Settings) -> S3Source:
    """The buckets that the S3 settings reach.

    Raises: ConfigError naming the setting.
    """
    return S3Source(settings)


def _head(client: "S3Client", bucket: str, key: str) -> "HeadObjectOutputTypeDef":
    with translated(bucket, key):
        return client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")


def _download(
    client: "S3Client", request: "GetObjectRequestTypeDef", target: Path, max_bytes: int
) -> None:
    bucket, key = request["Bucket"], request["Key"]
    with translated(bucket, key):
        answer = client.get_object(**request)
        # botocore raises if the body ends before the length that was announced.
        with closing(answer["Body"]) as body:
            size = answer["ContentLength"]
            if size > max_bytes:
                raise LoraTooLarge(f"s3://{bucket}/{key} has {size} bytes, allowed are {max_bytes}")
            try:
                with target.open("wb") as file:
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        file.write(chunk)
            except BaseException:
                target.unlink(missing_ok=True)
                raise


def _sha256(answer: "HeadObjectOutputTypeDef") -> str | None:
    """The whole object's checksum in hex; an upload in parts has only one of its parts' sums."""
    encoded = answer.get("ChecksumSHA256", "")
    if not encoded or "-" in encoded or answer.get("ChecksumType") == "COMPOSITE":
        return None
    return base64.b64decode(encoded).hex()
