import hashlib
import os
from pathlib import Path

import pytest

from lorajobs.adapters import digest
from lorajobs.adapters.cache import DiskCache
from lorajobs.adapters.digest import BLOCK_BYTES, BLOCKS, mark_of, sample_of, sha256_of
from lorajobs.adapters.disk_tier import COST_S
from lorajobs.adapters.label import peek
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


def read(cache: DiskCache, source: Source, name: str = "x") -> bytes:
    """The file's bytes as an attempt gets them."""
    with cache.ensure(SHA256, len(DATA), source, name) as file:
        return file.path.read_bytes()


def test_a_file_is_fetched_once(cache: DiskCache, tmp_path: Path) -> None:
    source = Source(DATA)
    other = DiskCache(tmp_path / "cache", 1 << 20)
    with (
        cache.ensure(SHA256, len(DATA), source, "x") as first,
        other.ensure(SHA256, len(DATA), source, "x") as second,
    ):
        assert first.path == second.path == tmp_path / "cache" / f"{SHA256}.safetensors"
        assert first.path.read_bytes() == DATA
        assert (first.tier, second.tier) == ("remote", "disk")
    assert source.asked == 1
    assert files(tmp_path) == {first.path.name}


def test_a_file_of_unknown_hash_is_found_by_its_hash(cache: DiskCache, tmp_path: Path) -> None:
    never = Source(b"")
    with cache.add(Source(DATA), "https://host/x") as added:
        assert (added.sha256, added.bytes) == (SHA256, len(DATA))
        assert read(cache, never) == added.path.read_bytes() == DATA
    assert never.asked == 0
    assert files(tmp_path) == {added.path.name}
    assert {path.name for path in (tmp_path / "cache" / "locks").iterdir()} == {SHA256}


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
    assert read(cache, Source(DATA)) == DATA


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
    cache: DiskCache, tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(DATA)
    assert read(cache, source) == DATA
    path = tmp_path / "cache" / f"{SHA256}.safetensors"
    path.write_bytes(damaged)
    os.utime(path, ns=(1, 1))
    assert read(cache, source, "my adapter") == DATA
    assert source.asked == 2
    assert "my adapter: its file on the disk is damaged" in caplog.text


def test_a_change_that_keeps_size_and_times_is_found(cache: DiskCache, tmp_path: Path) -> None:
    source = Source(DATA)
    read(cache, source)
    path = tmp_path / "cache" / f"{SHA256}.safetensors"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(cache, source) == DATA
    assert source.asked == 2


def test_a_change_between_the_sampled_blocks_is_found(tmp_path: Path) -> None:
    data = lora(rank=1 << 16)
    sha256, cache = hashlib.sha256(data).hexdigest(), DiskCache(tmp_path / "cache", len(data))
    assert len(data) > 2 * BLOCKS * BLOCK_BYTES
    source = Source(data)
    with cache.ensure(sha256, len(data), source, "x") as held:
        path, sample, before = held.path, sample_of(held.path), held.path.stat()
    # Some kernels count a file's times in ticks of milliseconds.
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        with path.open("r+b") as file:
            file.seek(BLOCK_BYTES + 1)
            file.write(b"?")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert sample_of(path) == sample
    with cache.ensure(sha256, len(data), source, "x") as held:
        assert held.path.read_bytes() == data
    assert source.asked == 2


def test_all_processes_hash_a_file_once_until_the_machine_is_restarted(
    cache: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr("lorajobs.adapters.cache.sha256_of", counted)
    source = Source(DATA)
    assert read(cache, source) == DATA
    assert [path.suffix for path in hashed] == [".part"]
    # Uses of another process, which write on the label too.
    for _ in range(3):
        assert read(DiskCache(tmp_path / "cache", 1 << 20), source) == DATA
    assert len(hashed) == 1
    monkeypatch.setattr(digest, "boot", lambda: b"after a restart ")
    for _ in range(2):
        assert read(DiskCache(tmp_path / "cache", 1 << 20), source) == DATA
    assert [path.suffix for path in hashed] == [".part", ".safetensors"]
    assert source.asked == 1


def test_what_a_crash_of_the_machine_left_is_fetched_again(
    cache: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(DATA)
    read(cache, source)
    path = tmp_path / "cache" / f"{SHA256}.safetensors"
    mark = mark_of(path)
    path.write_bytes(bytes(len(DATA)))
    # The file system has everything of it but its content.
    monkeypatch.setattr(
        "lorajobs.adapters.cache.mark_of", lambda _: mark[:-16] + b"after a restart "
    )
    assert read(cache, source) == DATA
    assert source.asked == 2


def test_an_adapter_whose_label_was_lost_is_worth_what_others_are(
    cache: DiskCache, tmp_path: Path
) -> None:
    source, label = Source(DATA), tmp_path / "cache" / "locks" / SHA256
    read(cache, source)
    label.unlink()
    assert read(cache, source) == DATA
    record = peek(label)
    assert record is not None
    assert (record.size, record.cost, record.uses) == (len(DATA), COST_S, 1)
    assert source.asked == 1


def test_another_time_alone_is_no_damage(cache: DiskCache, tmp_path: Path) -> None:
    source = Source(DATA)
    read(cache, source)
    os.utime(tmp_path / "cache" / f"{SHA256}.safetensors", ns=(1, 1))
    assert read(cache, source) == DATA
    assert source.asked == 1


def test_a_fetch_that_fails_leaves_nothing(cache: DiskCache, tmp_path: Path) -> None:
    def breaks(target: Path) -> None:
        target.write_bytes(DATA[:50])
        target.with_name(f"{target.name}.hub").mkdir()
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        cache.ensure(SHA256, len(DATA), breaks, "x")
    assert list((tmp_path / "cache" / "locks").iterdir()) == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["locks"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_said_and_may_pass(cache: DiskCache, tmp_path: Path) -> None:
    def fills(target: Path) -> None:
        target.write_bytes(DATA[:50])
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(DATA)

    with pytest.raises(
        LoraFetchFailed, match=r"x: the disk of this machine is full; free"
    ) as error:
        cache.ensure(SHA256, len(DATA), fills, "x")
    assert error.value.retryable
    assert files(tmp_path) == set()
    with pytest.raises(LoraFetchFailed, match="full"):
        cache.add(fills, "https://host/x")
    assert files(tmp_path) == set()
    assert read(cache, Source(DATA)) == DATA


def test_what_a_killed_process_left_is_written_over(cache: DiskCache, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / f"{SHA256}.part").write_bytes(b"half of something")
    assert read(cache, Source(DATA)) == DATA
    assert files(tmp_path) == {f"{SHA256}.safetensors"}


def test_a_small_file_is_read_and_not_kept(cache: DiskCache, tmp_path: Path) -> None:
    assert cache.read(Source(b"{}"), "x") == b"{}"
    assert files(tmp_path) == set()
