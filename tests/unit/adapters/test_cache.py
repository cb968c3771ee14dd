import hashlib
import os
from pathlib import Path

import pytest

from lorajobs.adapters.cache import DiskCache
from lorajobs.errors import LoraFetchFailed, LoraInvalidFile, LoraPickle, LoraTooLarge
from tests.lora_files import lora

DATA = lora()
SHA256 = hashlib.sha256(DATA).hexdigest()


class Source:
    """Gives bytes and counts how often it was asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    def __call__(self, target: Path) -> None:
        self.asked += 1
        target.write_bytes(self.data)


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache", 1 << 20)


def files(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").iterdir() if path.is_file()}


def test_a_file_is_fetched_once(cache: DiskCache, tmp_path: Path) -> None:
    source = Source(DATA)
    first = cache.ensure(SHA256, len(DATA), source, "x")
    second = DiskCache(tmp_path / "cache", 1 << 20).ensure(SHA256, len(DATA), source, "x")
    assert first == second == tmp_path / "cache" / f"{SHA256}.safetensors"
    assert first.read_bytes() == DATA
    assert source.asked == 1
    assert files(tmp_path) == {first.name}


def test_a_file_of_unknown_hash_is_found_by_its_hash(cache: DiskCache, tmp_path: Path) -> None:
    added = cache.add(Source(DATA), "https://host/x")
    assert (added.sha256, added.bytes) == (SHA256, len(DATA))
    never = Source(b"")
    assert cache.ensure(SHA256, len(DATA), never, "x") == added.path
    assert never.asked == 0
    assert files(tmp_path) == {added.path.name}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (lora(2.0), LoraFetchFailed),
        (DATA[:-1], LoraFetchFailed),
        (b"<html>down for maintenance</html>", LoraFetchFailed),
        (b"x" * ((1 << 20) + 1), LoraTooLarge),
    ],
)
def test_other_bytes_than_the_pinned_ones_are_not_kept(
    cache: DiskCache, tmp_path: Path, data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error, match="my adapter"):
        cache.ensure(SHA256, len(DATA), Source(data), "my adapter")
    assert files(tmp_path) == set()
    assert cache.ensure(SHA256, len(DATA), Source(DATA), "my adapter").read_bytes() == DATA


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"<html>", LoraInvalidFile),
        (b"", LoraInvalidFile),
        (b"\x80\x02}q\x00." + b"." * 40, LoraPickle),
    ],
)
def test_what_is_no_adapter_is_not_kept(
    cache: DiskCache, tmp_path: Path, data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        cache.add(Source(data), "x")
    with pytest.raises(error):
        cache.ensure(hashlib.sha256(data).hexdigest(), len(data), Source(data), "x")
    assert files(tmp_path) == set()


@pytest.mark.parametrize("damaged", [DATA[:-1] + b"?", DATA[:10], b""])
def test_a_file_damaged_on_disk_is_fetched_again(
    cache: DiskCache, tmp_path: Path, damaged: bytes
) -> None:
    source = Source(DATA)
    path = cache.ensure(SHA256, len(DATA), source, "x")
    path.write_bytes(damaged)
    os.utime(path, ns=(1, 1))
    assert cache.ensure(SHA256, len(DATA), source, "x").read_bytes() == DATA
    assert source.asked == 2


def test_a_fetch_that_fails_leaves_nothing(cache: DiskCache, tmp_path: Path) -> None:
    def breaks(target: Path) -> None:
        target.write_bytes(DATA[:50])
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        cache.ensure(SHA256, len(DATA), breaks, "x")
    assert files(tmp_path) == set()


def test_what_a_killed_process_left_is_written_over(cache: DiskCache, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / f"{SHA256}.part").write_bytes(b"half of something")
    assert cache.ensure(SHA256, len(DATA), Source(DATA), "x").read_bytes() == DATA
    assert files(tmp_path) == {f"{SHA256}.safetensors"}


def test_a_small_file_is_read_and_not_kept(cache: DiskCache, tmp_path: Path) -> None:
    assert cache.read(Source(b"{}"), "x") == b"{}"
    assert files(tmp_path) == set()
