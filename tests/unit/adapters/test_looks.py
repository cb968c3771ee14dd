"""A folder is listed again whenever anything that matters looks different, and else never."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lorajobs.adapters.looks import SETTLED_NS, Found, Looks


class Looker:
    """Looks at a file, and counts how often."""

    def __init__(self, path: Path, later_s: float = 60) -> None:
        """`later_s` is how far after the files' times the first look is."""
        self._path = path
        self._folder = path if path.is_dir() else path.parent
        self.is_flat = True
        self.count = 0
        self._looks = Looks(lambda: time.time_ns() + int(later_s * 1e9))

    def _look(self) -> Found:
        self.count += 1
        names = [name for name in os.listdir(self._folder) if not name.startswith("other")]
        state = " ".join((self._folder / name).read_text() for name in sorted(names))
        return Found(names, state, self.is_flat)

    def state(self) -> str | None:
        return self._looks.state(str(self._path), None, self._look)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "a.safetensors").write_text("one")
    return tmp_path / "shelf"


@pytest.fixture(params=["file", "folder"])
def looker(request: pytest.FixtureRequest, folder: Path) -> Looker:
    return Looker(folder if request.param == "folder" else folder / "a.safetensors")


def test_what_is_unchanged_is_looked_at_once(looker: Looker) -> None:
    assert [looker.state() for _ in range(3)] == ["one"] * 3
    assert looker.count == 1


def _rewritten(folder: Path) -> None:
    (folder / "a.safetensors").write_text("two")


def _rewritten_in_secret(folder: Path) -> None:
    file = folder / "a.safetensors"
    before = file.stat()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(folder: Path) -> None:
    (folder / "other").write_text("two")
    (folder / "other").replace(folder / "a.safetensors")


def _joined(folder: Path) -> None:
    (folder / "b.safetensors").write_text("two")


@pytest.mark.parametrize("change", [_rewritten, _rewritten_in_secret, _replaced, _joined])
def test_what_changed_is_seen(looker: Looker, folder: Path, change: Callable[[Path], None]) -> None:
    assert looker.state() == "one"
    change(folder)
    assert "two" in (looker.state() or "")
    looker.state()
    assert looker.count == 2


def test_a_link_that_leads_elsewhere_is_seen(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "new")
    (tmp_path / "new" / "a.safetensors").write_text("two")
    link = tmp_path / "link"
    link.symlink_to(folder)
    looker = Looker(link / "a.safetensors")
    assert looker.state() == "one"
    link.unlink()
    link.symlink_to(tmp_path / "new")
    assert looker.state() == "two"


def test_a_file_that_is_gone_is_looked_for(looker: Looker, folder: Path) -> None:
    looker.state()
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        looker.state()
    folder.mkdir()
    (folder / "a.safetensors").write_text("two")
    assert looker.state() == "two"


def test_what_changed_a_moment_ago_is_looked_at_again(folder: Path) -> None:
    looker = Looker(folder / "a.safetensors", later_s=SETTLED_NS / 1e9 / 2)
    looker.state()
    looker.state()
    assert looker.count == 2


def test_a_folder_with_folders_is_always_looked_at(looker: Looker) -> None:
    looker.is_flat = False
    looker.state()
    looker.state()
    assert looker.count == 2
