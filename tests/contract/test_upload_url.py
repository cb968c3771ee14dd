"""URLs that take one file: the same suite on both object stores, over real HTTP."""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore, SignedUpload
from lorajobs.storage.folder import FolderStore
from tests.services.signed_files import signed_files
from tests.services.weed import S3Server

KEY = "incoming/a b.safetensors"
DATA = os.urandom(100_000)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    with ExitStack() as stack:
        if request.param == "s3":
            server: S3Server = request.getfixturevalue("s3")
            yield open_store(Settings(**server.settings, s3_prefix=secrets.token_hex(4)))
            return
        files = stack.enter_context(signed_files())
        store = open_store(Settings(data_dir=tmp_path / "data", public_url=files.url))
        assert isinstance(store, FolderStore)
        files.store = store
        yield store


def announced(store: ObjectStore, data: bytes = DATA, ttl_s: int = 600) -> SignedUpload:
    return store.upload_url(KEY, len(data), hashlib.sha256(data).hexdigest(), ttl_s)


def put(url: str, headers: Mapping[str, str], data: bytes) -> int:
    try:
        return httpx.put(url, headers=headers, content=data, trust_env=False).status_code
    except httpx.WriteError:
        # The server had seen enough.
        return 400


def kept(store: ObjectStore, tmp_path: Path) -> bytes | None:
    if not store.exists(KEY):
        return None
    store.fetch(KEY, tmp_path / "copy", 10**6)
    return (tmp_path / "copy").read_bytes()


def test_what_was_announced_is_taken_and_as_often_as_it_comes(
    store: ObjectStore, tmp_path: Path
) -> None:
    signed = announced(store)
    for _ in range(2):
        assert put(signed.url, signed.headers, DATA) == 200
        assert kept(store, tmp_path) == DATA


@pytest.mark.parametrize("other", [DATA[:-1], DATA + b"x", DATA[::-1], b""])
def test_other_bytes_are_refused_and_nothing_is_kept(
    store: ObjectStore, tmp_path: Path, other: bytes
) -> None:
    signed = announced(store)
    assert put(signed.url, signed.headers, other) in range(400, 500)
    assert kept(store, tmp_path) is None


def test_a_refused_file_leaves_the_one_before(store: ObjectStore, tmp_path: Path) -> None:
    signed = announced(store)
    assert put(signed.url, signed.headers, DATA) == 200
    assert put(signed.url, signed.headers, DATA[::-1]) in range(400, 500)
    assert kept(store, tmp_path) == DATA


def test_a_url_takes_nothing_else(store: ObjectStore, tmp_path: Path) -> None:
    signed, other = announced(store), hashlib.sha256(b"other").hexdigest()
    last = "0" if signed.url[-1] != "0" else "1"
    mine = hashlib.sha256(DATA).hexdigest()
    changed = [
        signed.url[:-1] + last,
        signed.url.replace("incoming/a", "incoming/b"),
        signed.url.replace("Expires=600", "Expires=6000").replace("expires=1", "expires=2"),
        signed.url.partition("?")[0],
        store.url(KEY).url,
    ]
    for url in changed:
        assert put(url, signed.headers, DATA) in (403, 404), url
    # Of the folder the announcement is in the URL, of S3 in the headers.
    url = signed.url.replace(mine, other)
    headers = {name: value[::-1] for name, value in signed.headers.items()}
    assert put(url, headers, b"other") in range(400, 500)
    assert httpx.get(signed.url, trust_env=False).status_code in (403, 404, 405)
    assert kept(store, tmp_path) is None


def test_a_url_to_send_to_says_when_it_ends_and_ends(store: ObjectStore, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    signed = announced(store, ttl_s=1)
    second = timedelta(seconds=1)
    assert before <= signed.expires_at <= datetime.now(UTC) + second
    deadline = time.monotonic() + 30
    while (status := put(signed.url, signed.headers, DATA)) == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status == 403
