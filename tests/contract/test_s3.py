"""What only S3 has: two host names, a prefix, keys that are wrong, and buckets of adapters."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from lorajobs.errors import LoraTooLarge, UploadFailed
from lorajobs.settings import Settings
from lorajobs.storage.s3 import S3Source, S3Store, open_s3_source
from tests.services.server import free_ports
from tests.services.weed import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PNG = "image/png"


@pytest.fixture
def raw(s3: S3Server) -> Iterator["S3Client"]:
    """Another S3 client, to look behind the store and to write what the source reads."""
    with closing(s3.client()) as client:
        yield client


@pytest.fixture
def bucket(raw: "S3Client") -> str:
    """An empty bucket of its own."""
    name = f"loras-{secrets.token_hex(4)}"
    raw.create_bucket(Bucket=name)
    return name


@pytest.fixture
def source(s3: S3Server) -> S3Source:
    return open_s3_source(Settings(**s3.settings))


def wrong(s3: S3Server) -> Settings:
    """The settings of somebody who knows the key but not the secret."""
    return Settings(**s3.settings | {"s3_secret_key": "not-the-secret"})


def test_clients_get_the_public_host(s3: S3Server) -> None:
    public = s3.endpoint.replace("127.0.0.1", "localhost")
    store = S3Store(Settings(**s3.settings, s3_public_endpoint=public))
    key = f"{secrets.token_hex(4)}/0.png"

    store.put(key, b"data", PNG)
    answer = httpx.get(store.url(key).url)

    assert answer.request.url.host == "localhost"
    assert (answer.status_code, answer.content) == (200, b"data")
    assert answer.headers["content-type"] == PNG
    # The host is signed: the same query on the internal one is somebody else's request.
    assert httpx.get(store.url(key).url.replace("localhost", "127.0.0.1")).status_code == 403


def test_each_url_is_signed_anew(s3: S3Server) -> None:
    short = S3Store(Settings(**s3.settings, url_ttl_s=60)).url("a").url
    long = S3Store(Settings(**s3.settings, url_ttl_s=604_800)).url("a").url

    assert "X-Amz-Expires=60&" in short
    assert "X-Amz-Expires=604800&" in long
    assert s3.secret_key not in short + long


def test_a_file_keeps_its_type_also_in_parts(s3: S3Server, tmp_path: Path) -> None:
    store = S3Store(Settings(**s3.settings))
    file = tmp_path / "large"
    file.write_bytes(os.urandom(20 << 20))

    key = f"blobs/{store.keep(file, 'blobs/{}'.format)}"

    answer = httpx.get(store.url(key).url)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == file.read_bytes()


@pytest.mark.parametrize("written", ["pics/a", "/pics/a/", "pics/a/"])
def test_the_prefix_holds_all_keys(
    raw: "S3Client", bucket: str, s3: S3Server, written: str
) -> None:
    settings = s3.settings | {"s3_bucket": bucket}
    inside = S3Store(Settings(**settings, s3_prefix=written))
    outside = S3Store(Settings(**settings))

    inside.put("jobs/1/0.png", b"inside", PNG)
    outside.put("jobs/1/0.png", b"outside", PNG)
    outside.put("pics/ab/jobs/1/0.png", b"neighbour", PNG)
    assert httpx.get(inside.url("jobs/1/0.png").url).content == b"inside"
    inside.delete("jobs/")

    left = [item["Key"] for item in raw.list_objects_v2(Bucket=bucket)["Contents"]]
    assert left == ["jobs/1/0.png", "pics/ab/jobs/1/0.png"]


def test_a_wrong_secret_fails_the_upload(s3: S3Server, tmp_path: Path) -> None:
    store = S3Store(wrong(s3))
    file = tmp_path / "file"
    file.write_bytes(b"data")

    for send, reason in (
        (lambda: store.put("jobs/1/0.png", b"data", PNG), r"0\.png.*SignatureDoesNotMatch"),
        (lambda: store.keep(file, str), "the file was not stored: S3 denies access"),
    ):
        with pytest.raises(UploadFailed, match=reason) as caught:
            send()
        assert caught.value.retryable
        assert s3.access_key not in caught.value.detail
    with pytest.raises(PermissionError, match="denies access"):
        store.fetch("jobs/1/0.png", tmp_path / "copy", max_bytes=10)
    with pytest.raises(PermissionError):
        store.exists("jobs/1/0.png")
    with pytest.raises(PermissionError):
        store.delete("jobs/1/")
    assert httpx.get(store.url("jobs/1/0.png").url).status_code == 403


def test_a_missing_bucket_is_named(s3: S3Server, tmp_path: Path) -> None:
    store = S3Store(Settings(**s3.settings | {"s3_bucket": "no-such-bucket"}))

    file = tmp_path / "file"
    file.write_bytes(b"data")

    for send in (lambda: store.put("0.png", b"data", PNG), lambda: store.keep(file, str)):
        with pytest.raises(UploadFailed, match="NoSuchBucket"):
            send()
    with pytest.raises(FileNotFoundError, match=r"s3://no-such-bucket/0\.png"):
        store.fetch("0.png", tmp_path / "copy", max_bytes=10)


def test_a_dead_endpoint_is_neither_missing_nor_denied(s3: S3Server, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    settings = Settings(**s3.settings | {"s3_endpoint": dead}, s3_retries=1)
    store, file = S3Store(settings), tmp_path / "file"
    file.write_bytes(b"data")

    for send in (lambda: store.put("0.png", b"data", PNG), lambda: store.keep(file, str)):
        with pytest.raises(UploadFailed, match="EndpointConnectionError"):
            send()
    for ask in (store.exists, store.delete):
        with pytest.raises(OSError, match="EndpointConnectionError") as caught:
            ask("0.png")
        assert type(caught.value) is OSError


def test_head_tells_what_is_known(source: S3Source, raw: "S3Client", bucket: str) -> None:
    data = b"weights" * 1000
    raw.put_object(Bucket=bucket, Key="a/pixel.safetensors", Body=data, ChecksumAlgorithm="SHA256")

    found = source.head(bucket, "a/pixel.safetensors")

    assert found.bytes == 7000
    assert found.version_id is None
    assert found.etag == hashlib.md5(data).hexdigest()
    assert found.sha256 == hashlib.sha256(data).hexdigest()


def test_a_sum_of_sums_is_no_hash_of_the_file(
    source: S3Source, raw: "S3Client", bucket: str, tmp_path: Path
) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(20 << 20))
    raw.upload_file(str(file), bucket, "lora", ExtraArgs={"ChecksumAlgorithm": "SHA256"})
    raw.put_object(Bucket=bucket, Key="plain", Body=b"x")

    assert raw.head_object(Bucket=bucket, Key="lora", ChecksumMode="ENABLED")["ChecksumSHA256"]
    assert source.head(bucket, "lora").sha256 is None
    assert source.head(bucket, "plain").sha256 is None


def test_a_version_stays_readable(
    source: S3Source, raw: "S3Client", bucket: str, tmp_path: Path
) -> None:
    raw.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    raw.put_object(Bucket=bucket, Key="lora", Body=b"old")
    old = source.head(bucket, "lora")
    raw.put_object(Bucket=bucket, Key="lora", Body=b"new!")
    new = source.head(bucket, "lora")

    source.fetch(bucket, "lora", old.version_id, tmp_path / "old", max_bytes=10)
    source.fetch(bucket, "lora", None, tmp_path / "newest", max_bytes=10)

    assert old.version_id
    assert new.version_id
    assert old.version_id != new.version_id
    assert (old.bytes, new.bytes) == (3, 4)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert (tmp_path / "newest").read_bytes() == b"new!"


def test_list_names_what_lies_in_the_folder(source: S3Source, raw: "S3Client", bucket: str) -> None:
    for key in ("a/b.safetensors", "a/adapter config.json", "a/deep/c.safetensors", "ab/x", "top"):
        raw.put_object(Bucket=bucket, Key=key, Body=b"x")

    assert source.list(bucket, "a") == ["a/adapter config.json", "a/b.safetensors"]
    assert source.list(bucket, "a/") == ["a/adapter config.json", "a/b.safetensors"]
    assert source.list(bucket, "") == ["top"]
    assert source.list(bucket, "nothing") == []


def test_a_source_that_is_not_there(source: S3Source, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"s3://{bucket}/x"):
        source.head(bucket, "x")
    with pytest.raises(FileNotFoundError):
        source.fetch(bucket, "x", None, tmp_path / "copy", max_bytes=10)
    with pytest.raises(FileNotFoundError):
        source.list("no-such-bucket", "x")


def test_a_source_that_is_denied(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    source = open_s3_source(wrong(s3))

    with pytest.raises(PermissionError):
        source.head(bucket, "x")
    with pytest.raises(PermissionError):
        source.list(bucket, "x")
    with pytest.raises(PermissionError):
        source.fetch(bucket, "x", None, tmp_path / "copy", max_bytes=10)


def test_a_source_over_the_cap(
    source: S3Source, raw: "S3Client", bucket: str, tmp_path: Path
) -> None:
    raw.put_object(Bucket=bucket, Key="lora", Body=b"x" * 100)

    with pytest.raises(LoraTooLarge, match="100 bytes, allowed are 99"):
        source.fetch(bucket, "lora", None, tmp_path / "copy", max_bytes=99)

    assert not (tmp_path / "copy").exists()
