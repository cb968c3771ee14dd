"""What is told of the folder of adapters, and when it is listed again."""

import os
from pathlib import Path

import pytest

from lorajobs.adapters.census import SUFFIX, Folder

LONG_AGO = (1_000_000_000, 1_000_000_000)


def put(folder: Path, name: str, size: int) -> None:
    (folder / f"{name}{SUFFIX}").write_bytes(b"x" * size)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder with one adapter and a download that is under way."""
    made = tmp_path / "adapters"
    (made / "locks").mkdir(parents=True)
    put(made, "a", 3)
    (made / "b.part").write_bytes(b"xx")
    return made


def test_what_is_complete_is_counted(path: Path) -> None:
    census = Folder(path).census()
    assert census.adapters == {"a"}
    assert (census.cached, census.cached_bytes) == (1, 3)


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "adapters")
    assert folder.census() == (frozenset(), 0, "")
    (tmp_path / "adapters").mkdir()
    assert folder.census().disk
    (tmp_path / "adapters").rmdir()
    assert folder.census() == (frozenset(), 0, "")


def test_each_change_is_seen_though_the_folders_time_stays(path: Path) -> None:
    folder = Folder(path)
    folder.census()
    times = path.stat()
    put(path, "c", 4)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder.census().adapters == {"a", "c"}
    (path / f"a{SUFFIX}").unlink()
    assert folder.census().adapters == {"c"}


def test_a_folder_that_is_at_rest_is_not_listed_again(path: Path) -> None:
    os.utime(path, LONG_AGO)
    folder = Folder(path)
    first = folder.census()
    # What a listing would show, but no change that a folder's time would not tell.
    put(path, "c", 4)
    os.utime(path, LONG_AGO)
    assert folder.census() is first
    os.utime(path)
    assert folder.census().adapters == {"a", "c"}


def test_a_disk_is_named_by_its_folder_not_by_its_path(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    assert Folder(path).census().disk == Folder(tmp_path / "link").census().disk
    (tmp_path / "other").mkdir()
    assert Folder(tmp_path / "other").census().disk != Folder(path).census().disk
