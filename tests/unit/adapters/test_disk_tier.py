"""What stays on a machine's disk: the budget, pins, what waiting jobs need, leftovers."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lorajobs.adapters.cache import GIGABYTE, DiskCache, Held
from lorajobs.adapters.disk_tier import KEEP_S
from lorajobs.errors import LoraTooLarge, NoRoomAhead
from lorajobs.settings import Settings
from tests.lora_files import lora

FILES = {name: lora(float(number)) for number, name in enumerate("abcdefgh", start=1)}
SIZE = len(FILES["a"])


def sha(name: str) -> str:
    return hashlib.sha256(FILES[name]).hexdigest()


class Disk:
    """A cache with room for some files, a clock that a test sets, and what was fetched."""

    def __init__(self, folder: Path, room: int | None) -> None:
        self.folder = folder
        self.now = 1e9
        self.fetched: list[str] = []
        self.cache = self.process(room)

    def process(self, room: int | None) -> DiskCache:
        """Another process of the machine; a file may be half as large again as those here."""
        budget = room and room * SIZE + SIZE // 2
        return DiskCache(self.folder, SIZE * 3 // 2, budget, lambda: self.now)

    def hold(self, name: str, cache: DiskCache | None = None, *, ahead: bool = False) -> Held:
        self.now += 1
        fetch = self.source(name)
        return (cache or self.cache).ensure(sha(name), SIZE, fetch, name, ahead=ahead)

    def use(self, *names: str) -> None:
        for name in names:
            self.hold(name).release()

    def bring(self, *names: str) -> None:
        for name in names:
            self.hold(name, ahead=True).release()

    def source(self, name: str) -> Callable[[Path], None]:
        def fetch(target: Path) -> None:
            self.fetched.append(name)
            target.write_bytes(FILES[name])

        return fetch

    def here(self) -> str:
        return "".join(name for name in FILES if self.cache.has(sha(name)))

    def later(self) -> None:
        """Long after any waiting job was looked at."""
        self.now += KEEP_S


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_the_budget_is_kept_and_the_rest_is_forgotten_whole(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=3)
    for name in FILES:
        disk.use(name)
        disk.later()
        assert disk.cache.census().cached_bytes <= 3.5 * SIZE
    names = {sha(name) for name in disk.here()}
    assert disk.cache.census().adapters == names
    assert disk.cache.census().cached_bytes == 3 * SIZE
    assert entries(tmp_path) == names | {f"{name}.safetensors" for name in names} | {"tier"}


def test_without_a_budget_everything_stays(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=None)
    disk.use(*FILES)
    assert disk.here() == "".join(FILES)


def test_what_is_in_use_stays_even_over_the_budget(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(tmp_path, room=2)
    with disk.hold("a"), disk.hold("b"):
        disk.later()
        with disk.hold("c"):
            assert disk.here() == "abc"
            assert "in use exceed disk_cache_gb" in caplog.text
            disk.later()
        disk.use("d")
        assert disk.here() == "abd"
    disk.later()
    disk.use("e")
    assert len(disk.here()) == 2


def test_what_is_used_by_another_process_stays_too(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=2)
    with disk.hold("a", disk.process(2)):
        for name in "bcdef":
            disk.later()
            disk.use(name)
            assert "a" in disk.here()


def test_what_was_used_by_any_process_counts(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=3)
    disk.use("a", "b", "c")
    for _ in range(50):
        disk.hold("a", disk.process(3)).release()
    disk.later()
    disk.use("d")
    disk.later()
    disk.use("e")
    assert "a" in disk.here()


def test_nothing_that_a_waiting_job_needs_goes_for_a_later_one(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=2)
    disk.bring("a", "b")
    with pytest.raises(NoRoomAhead):
        disk.bring("c")
    assert (disk.here(), disk.fetched) == ("ab", ["a", "b"])
    disk.later()
    # The fetcher's look: a job that needs it still waits.
    assert disk.cache.keep(sha("a"))
    assert not disk.cache.keep(sha("h"))
    disk.bring("c")
    assert disk.here() == "ac"
    assert entries(tmp_path / "locks") == {sha("a"), sha("c"), "tier"}


def test_a_running_job_takes_the_room_of_waiting_ones_last(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=2)
    disk.use("a")
    disk.later()
    disk.bring("b")
    disk.use("c")
    assert disk.here() == "bc"
    disk.use("d")
    assert "d" in disk.here()
    assert len(disk.here()) == 2


def test_what_has_no_place_at_all_is_refused_before_it_is_fetched(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=1)
    disk.use("a")
    with pytest.raises(LoraTooLarge, match=f"x has {2 * SIZE} bytes, allowed are {SIZE * 3 // 2}"):
        disk.cache.ensure("0" * 64, 2 * SIZE, disk.source("b"), "x")
    assert (disk.here(), disk.fetched) == ("a", ["a"])


def test_what_killed_downloads_left_is_swept(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=3)
    disk.use("a")
    locks = tmp_path / "locks"
    for key in (sha("b"), "a" * 32):
        (tmp_path / f"{key}.part").write_bytes(b"half")
        (tmp_path / f"{key}.part.hub").mkdir()
        (tmp_path / f"{key}.part.hub" / "more").write_bytes(b"half")
    (locks / sha("b")).touch()
    (locks / sha("c")).touch()
    disk.process(None).sweep()
    assert entries(tmp_path) == {sha("a"), f"{sha('a')}.safetensors", "tier"}
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"locks"}


def test_a_download_that_goes_on_is_not_swept(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=3)

    def fetch(target: Path) -> None:
        target.write_bytes(b"half")
        disk.process(3).sweep()
        assert target.read_bytes() == b"half"
        target.write_bytes(FILES["a"])

    with disk.cache.ensure(sha("a"), SIZE, fetch, "a"):
        assert disk.here() == "a"


def test_a_smaller_budget_is_kept_from_the_start(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=6)
    disk.use(*"abcdef")
    disk.later()
    disk.process(2).sweep()
    assert len(disk.here()) == 2


def test_a_file_that_lost_its_label_counts_and_can_go(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=2)
    disk.use("a", "b")
    for label in (tmp_path / "locks").iterdir():
        label.unlink()
    disk.later()
    disk.use("c")
    assert len(disk.here()) == 2
    assert "c" in disk.here()


def test_what_is_on_its_way_counts(tmp_path: Path) -> None:
    disk = Disk(tmp_path, room=2)
    disk.use("a", "b")
    disk.later()

    def fetch(target: Path) -> None:
        # While c comes, d needs room of its own.
        disk.hold("d", disk.process(2)).release()
        target.write_bytes(FILES["c"])

    with disk.cache.ensure(sha("c"), SIZE, fetch, "c"):
        assert disk.here() == "cd"


def test_a_folder_that_cannot_be_written_stops_no_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a file where the cache belongs")
    DiskCache(tmp_path / "file", SIZE).sweep()
    assert "is not swept" in caplog.text


@pytest.mark.parametrize(("files", "stay"), [(2.5, 2), (0, 5)])
def test_the_settings_name_folder_and_budget(tmp_path: Path, files: float, stay: int) -> None:
    settings = Settings(
        data_dir=tmp_path, lora_max_bytes=2 * SIZE, disk_cache_gb=files * SIZE / GIGABYTE
    )
    cache = DiskCache.of(settings)
    for name in "abcde":
        fetch = Disk(tmp_path, None).source(name)
        cache.ensure(sha(name), SIZE, fetch, name).release()
    assert (cache.census().cached, cache.census().cached_bytes) == (stay, stay * SIZE)
    assert len(list((tmp_path / "adapters").glob("*.safetensors"))) == stay
