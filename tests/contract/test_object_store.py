"""One suite on both object stores, their URLs read over real HTTP."""

import hashlib
import os
import secrets
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lorajobs.errors import LoraTooLarge, UploadFailed
from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore
from lorajobs.storage.folder import FolderStore
from tests.services.signed_files import signed_files
from tests.services.weed import S3Server

PNG = "image/png"
Open = Callable[[int], ObjectStore]


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same empty store with URLs of a given life in seconds."""
    with ExitStack() as stack:
        if request.param == "s3":
            server: S3Server = request.getfixturevalue("s3")
            prefix = secrets.token_hex(4)

            def open_s3(ttl_s: int) -> ObjectStore:
                return open_store(Settings(**server.settings, s3_prefix=prefix, url_ttl_s=ttl_s))

            yield open_s3
            return
        files = stack.enter_context(signed_files())

        def open_folder(ttl_s: int) -> ObjectStore:
            store = open_store(
                Settings(data_dir=tmp_path / "data", public_url=files.url, url_ttl_s=ttl_s)
            )
            assert isinstance(store, FolderStore)
            files.store = store
            return store

        yield open_folder


@pytest.fixture
def store(opened: Open) -> ObjectStore:
    return opened(3600)


def read(url: str) -> tuple[int, bytes]:
    answer = httpx.get(url)
    return answer.status_code, answer.content


def test_bytes_come_back_as_they_were(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(10_000)

    store.put("jobs/1/0.png", data, PNG)
    store.fetch("jobs/1/0.png", tmp_path / "copy", max_bytes=10_000)

    assert (tmp_path / "copy").read_bytes() == data


def test_a_small_object_is_read_at_once(store: ObjectStore) -> None:
    data = os.urandom(10_000)
    store.put("jobs/1/0.png", data, PNG)

    assert store.read("jobs/1/0.png", 10_000) == data
    with pytest.raises(OSError, match="more than 9999 bytes"):
        store.read("jobs/1/0.png", 9_999)
    with pytest.raises(FileNotFoundError):
        store.read("jobs/1/1.png", 10_000)


def test_put_replaces(store: ObjectStore) -> None:
    store.put("jobs/1/0.png", b"a long first version", PNG)
    store.put("jobs/1/0.png", b"second", PNG)

    assert read(store.url("jobs/1/0.png").url) == (200, b"second")


def test_readers_never_see_a_part(store: ObjectStore, tmp_path: Path) -> None:
    versions = [bytes([n]) * 300_000 for n in range(4)]
    store.put("x/one", versions[0], PNG)

    def write(version: bytes) -> None:
        for _ in range(3):
            store.put("x/one", version, PNG)

    def seen(reader: int) -> set[str]:
        found = set()
        for turn in range(6):
            copy = tmp_path / f"{reader}-{turn}"
            store.fetch("x/one", copy, max_bytes=10**6)
            found.add(hashlib.sha256(copy.read_bytes()).hexdigest())
        return found

    with ThreadPoolExecutor(6) as pool:
        writes = [pool.submit(write, version) for version in versions]
        reads = [pool.submit(seen, reader) for reader in range(2)]
        for done in writes:
            done.result()
        found = set().union(*(done.result() for done in reads))

    assert found <= {hashlib.sha256(version).hexdigest() for version in versions}


def test_a_large_file_is_streamed_both_ways(store: ObjectStore, tmp_path: Path) -> None:
    size = 96 << 20
    source, copy = tmp_path / "source", tmp_path / "copy"
    with source.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))

    tracemalloc.start()
    try:
        sha256 = store.keep(source, "blobs/{}".format)
        store.fetch(f"blobs/{sha256}", copy, max_bytes=size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    with source.open("rb") as before, copy.open("rb") as after:
        found = [hashlib.file_digest(file, "sha256").hexdigest() for file in (before, after)]
    assert found == [sha256, sha256]
    assert peak < size / 2


def test_exists_follows_put_and_delete(store: ObjectStore) -> None:
    assert not store.exists("jobs/1/0.png")
    store.put("jobs/1/0.png", b"data", PNG)
    assert store.exists("jobs/1/0.png")
    assert not store.exists("jobs/1")
    store.delete("jobs/1/")
    assert not store.exists("jobs/1/0.png")


@pytest.mark.parametrize("key", ["jobs/1/0.png", "jobs", "jobs/1/0.png/1"])
def test_a_missing_object_is_not_found(store: ObjectStore, tmp_path: Path, key: str) -> None:
    store.put("jobs/1/1.png", b"another", PNG)
    store.put("jobs/1/0.png/2" if key.endswith(".png") else "jobs/1/0.png", b"other", PNG)

    with pytest.raises(FileNotFoundError):
        store.fetch(key, tmp_path / "copy", max_bytes=100)

    assert not (tmp_path / "copy").exists()
    assert read(store.url(key).url)[0] == 404


def test_a_file_that_is_kept_again_is_there_as_before(store: ObjectStore, tmp_path: Path) -> None:
    file, copy = tmp_path / "file", tmp_path / "copy"
    file.write_bytes(b"weights")
    first = store.keep(file, "blobs/{}.safetensors".format)
    assert first == hashlib.sha256(b"weights").hexdigest()
    assert store.keep(file, "blobs/{}.safetensors".format) == first

    store.fetch(f"blobs/{first}.safetensors", copy, max_bytes=7)
    assert file.read_bytes() == copy.read_bytes() == b"weights"


def test_a_file_that_is_not_there_is_not_stored(store: ObjectStore, tmp_path: Path) -> None:
    named: list[str] = []

    def key_of(sha256: str) -> str:
        named.append(sha256)
        return f"blobs/{sha256}"

    with pytest.raises(UploadFailed, match=r"the file was not stored: .*No such file"):
        store.keep(tmp_path / "missing", key_of)
    assert not named


def test_more_than_the_cap_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    store.put("blobs/1", b"x" * 1000, PNG)

    with pytest.raises(LoraTooLarge, match=r"1000 bytes, allowed are 999"):
        store.fetch("blobs/1", tmp_path / "copy", max_bytes=999)

    assert not (tmp_path / "copy").exists()
    store.fetch("blobs/1", tmp_path / "copy", max_bytes=1000)
    assert (tmp_path / "copy").stat().st_size == 1000


def test_a_failed_fetch_leaves_no_part(store: ObjectStore, tmp_path: Path) -> None:
    store.put("blobs/1", b"x" * 1000, PNG)

    with pytest.raises(OSError, match="No such file"):
        store.fetch("blobs/1", tmp_path / "no-folder" / "copy", max_bytes=1000)


@pytest.mark.parametrize(
    "key",
    ["jobs/1/a red heart.png", "jobs/1/ひまわり é.png", "jobs/1/50%25+a&b=c?d#e;f.png", "plain"],
)
def test_keys_are_taken_literally(store: ObjectStore, tmp_path: Path, key: str) -> None:
    store.put(key, b"data", PNG)

    store.fetch(key, tmp_path / "copy", max_bytes=4)
    assert store.exists(key)
    assert read(store.url(key).url) == (200, b"data")
    store.delete(key)
    assert not store.exists(key)


def test_a_url_says_when_it_ends(store: ObjectStore) -> None:
    before = datetime.now(UTC)
    signed = store.url("jobs/1/0.png")
    after = datetime.now(UTC)

    life, second = timedelta(seconds=3600), timedelta(seconds=1)
    assert before + life - second <= signed.expires_at <= after + life


def test_a_url_ends(opened: Open) -> None:
    store = opened(2)
    store.put("jobs/1/0.png", b"data", PNG)
    signed = store.url("jobs/1/0.png")

    deadline = time.monotonic() + 30
    while read(signed.url)[0] == 200 and time.monotonic() < deadline:
        time.sleep(0.05)

    assert read(signed.url)[0] == 403
    assert datetime.now(UTC) >= signed.expires_at - timedelta(seconds=1)
    assert read(store.url("jobs/1/0.png").url) == (200, b"data")


def test_a_changed_url_is_refused(store: ObjectStore) -> None:
    for name in ("0.png", "1.png"):
        store.put(f"jobs/1/{name}", b"data", PNG)
    url = store.url("jobs/1/0.png").url
    assert read(url)[0] == 200

    last = "0" if url[-1] != "0" else "1"
    longer = url.replace("Expires=3600", "Expires=36000").replace("expires=1", "expires=2")
    assert longer != url
    assert read(url[:-1] + last)[0] == 403
    assert read(url.replace("0.png", "1.png"))[0] == 403
    assert read(longer)[0] == 403
    assert read(url.partition("?")[0])[0] == 403


def test_delete_takes_what_begins_with_the_prefix(store: ObjectStore) -> None:
    keys = ["jobs/1/0.png", "jobs/1/deep/er.png", "jobs/10/0.png", "jobs/2/0.png"]
    for key in keys:
        store.put(key, b"data", PNG)

    store.delete("jobs/1/")
    assert [key for key in keys if store.exists(key)] == ["jobs/10/0.png", "jobs/2/0.png"]
    store.delete("jobs/1")
    assert [key for key in keys if store.exists(key)] == ["jobs/2/0.png"]


def test_delete_of_nothing_is_no_error(store: ObjectStore) -> None:
    store.put("jobs/1/0.png", b"data", PNG)

    for prefix in ("jobs/2/", "jobs/2", "nothing/at/all/", "jobs/1/0.png/"):
        store.delete(prefix)

    assert store.exists("jobs/1/0.png")


@pytest.mark.parametrize("prefix", ["", "/"])
def test_delete_never_erases_all(store: ObjectStore, prefix: str) -> None:
    store.put("jobs/1/0.png", b"data", PNG)

    with pytest.raises(ValueError, match="prefix"):
        store.delete(prefix)

    assert store.exists("jobs/1/0.png")


def test_delete_goes_past_a_page(store: ObjectStore) -> None:
    # S3 lists and deletes at most 1000 at a time.
    keys = [f"jobs/1/{n}.png" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b"x", PNG), keys))

    store.delete("jobs/1/")

    assert not [key for key in (keys[0], keys[999], keys[1000], keys[1004]) if store.exists(key)]


def test_a_key_can_be_used_again_after_deletion(store: ObjectStore) -> None:
    for data in (b"first", b"second"):
        store.put("jobs/1/0.png", data, PNG)
        assert read(store.url("jobs/1/0.png").url) == (200, data)
        store.delete("jobs/1/")
