"""The disk cache under several processes of one machine, which may be killed at any moment."""

import fcntl
import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from lorajobs.adapters.cache import DiskCache, Fetch
from lorajobs.adapters.label import Label
from lorajobs.errors import LoraFetchFailed
from tests.lora_files import lora

#: Imports once what each process begins with.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])
PROCESSES = 8
FILES = [lora(float(number)) for number in range(1, 33)]
NAMES = [hashlib.sha256(data).hexdigest() for data in FILES]
SIZE = len(FILES[0])
#: Each process uses one file and brings one at a time, so pins alone never exceed it.
BUDGET = 2 * PROCESSES * SIZE


class Crew:
    """Processes that each run one function, told and heard through a pipe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cache"
        self.log = folder / "log"
        self.members: list[tuple[BaseProcess, Connection]] = []

    def hire(self, work: object, *args: object) -> Connection:
        mine, theirs = FORKS.Pipe()
        process = FORKS.Process(target=work, args=(theirs, self.folder, self.log, *args))  # type: ignore[arg-type]
        process.start()
        theirs.close()
        self.members.append((process, mine))
        return mine

    def kill(self, pipe: Connection) -> None:
        process = next(process for process, mine in self.members if mine is pipe)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    def downloads(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def dismiss(self) -> None:
        for process, mine in self.members:
            process.kill()
            process.join()
            mine.close()


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path)
    yield crew
    crew.dismiss()


def source(log: Path, number: int) -> Fetch:
    def fetch(target: Path) -> None:
        with log.open("a") as file:
            file.write(f"{number}\n")
        target.write_bytes(FILES[number])

    return fetch


def opened(folder: Path, clock: float | None = None) -> DiskCache:
    # A clock that stands still at another time than the files' keeps nothing for waiting jobs.
    return DiskCache(folder, SIZE, BUDGET, time.time if clock is None else lambda: clock)


def ensure_once(pipe: Connection, folder: Path, log: Path) -> None:
    cache = opened(folder)
    pipe.send("ready")
    with cache.ensure(NAMES[0], SIZE, source(log, 0), "x") as file:
        pipe.send(str(file.path))


def hold(pipe: Connection, folder: Path, log: Path) -> None:
    with opened(folder).ensure(NAMES[0], SIZE, source(log, 0), "x"):
        pipe.send("held")
        pipe.recv()


def stall(pipe: Connection, folder: Path, log: Path) -> None:
    def fetch(target: Path) -> None:
        target.write_bytes(FILES[0][:50])
        pipe.send("half")
        pipe.recv()

    opened(folder).ensure(NAMES[0], SIZE, fetch, "x")


def churn(pipe: Connection, folder: Path, log: Path, seed: int) -> None:
    """Uses one file after the other, and says each that it read."""
    rng, cache = random.Random(seed), opened(folder)
    while True:
        number = min(int(rng.expovariate(0.15)), len(FILES) - 1)
        fetch = source(log, number)
        try:
            with cache.ensure(NAMES[number], SIZE, fetch, str(number)) as file:
                whole = file.path.read_bytes() == FILES[number]
        except LoraFetchFailed:
            # It left as often as it came: files this small come and go as no adapter does. A job
            # would try again, and so does this one.
            continue
        pipe.send((number, whole))


def test_eight_processes_at_once_make_one_download(crew: Crew) -> None:
    (crew.folder / "locks").mkdir(parents=True)
    with (crew.folder / "locks" / NAMES[0]).open("w") as lock:
        # While this process holds it, none of them can begin.
        fcntl.flock(lock, fcntl.LOCK_EX)
        pipes = [crew.hire(ensure_once) for _ in range(PROCESSES)]
        assert [pipe.recv() for pipe in pipes] == ["ready"] * PROCESSES
        assert crew.downloads() == []
    path = crew.folder / f"{NAMES[0]}.safetensors"
    assert {pipe.recv() for pipe in pipes} == {str(path)}
    assert crew.downloads() == ["0"]
    assert path.read_bytes() == FILES[0]


def test_a_killed_download_is_made_anew_by_who_waits_for_it(crew: Crew) -> None:
    stalled = crew.hire(stall)
    assert stalled.recv() == "half"
    waiting = crew.hire(ensure_once)
    assert waiting.recv() == "ready"
    assert crew.downloads() == []
    crew.kill(stalled)
    assert waiting.recv() == str(crew.folder / f"{NAMES[0]}.safetensors")
    assert crew.downloads() == ["0"]
    assert list(crew.folder.glob("*.part*")) == []


def test_a_pin_is_seen_by_all_and_dies_with_its_process(crew: Crew) -> None:
    holder = crew.hire(hold)
    assert holder.recv() == "held"
    cache = opened(crew.folder, clock=1e9)
    fill(crew, cache)
    assert cache.has(NAMES[0])
    crew.kill(holder)
    fill(crew, cache)
    assert not cache.has(NAMES[0])


def fill(crew: Crew, cache: DiskCache) -> None:
    """Uses every file but the first often enough that no other is worth as little as that."""
    for _ in range(2):
        for number in range(1, len(FILES)):
            cache.ensure(NAMES[number], SIZE, source(crew.log, number), "x").release()


@contextmanager
def nobody_moves(folder: Path) -> Iterator[None]:
    """While the folder's own label is owned nothing is evicted and no room is given."""
    with Label.own(folder / "locks" / "tier"):
        yield


def used(folder: Path) -> int:
    """The bytes in the folder; a file counts once that gets its name just now."""
    sizes: dict[str, int] = {}
    with nobody_moves(folder):
        for entry in os.scandir(folder):
            if entry.is_file():
                key = entry.name.partition(".")[0]
                sizes[key] = max(sizes.get(key, 0), SIZE)
    return sum(sizes.values())


def test_eight_processes_keep_one_budget_while_some_are_killed(crew: Crew) -> None:
    (crew.folder / "locks").mkdir(parents=True)
    pipes = [crew.hire(churn, seed) for seed in range(PROCESSES)]
    heard, kills, rng = 0, 0, random.Random(7)
    while heard < 600:
        ready = wait(pipes, timeout=60)
        assert ready, "all of them wait for each other"
        for pipe in ready:
            assert isinstance(pipe, Connection)
            number, whole = pipe.recv()
            assert whole, f"file {number} was not what it is called"
            heard += 1
        assert used(crew.folder) <= BUDGET
        if heard > 60 * (kills + 1):
            victim = rng.randrange(PROCESSES)
            crew.kill(pipes[victim])
            pipes[victim] = crew.hire(churn, PROCESSES + kills)
            kills += 1
    assert kills >= 5
    downloads = len(crew.downloads())
    crew.dismiss()
    check_leftovers(crew, downloads)


def check_leftovers(crew: Crew, downloads: int) -> None:
    """What is there after all were killed is whole, and the rest can be swept."""
    assert len(FILES) < downloads < 600
    cache = opened(crew.folder)
    cache.sweep()
    here = [name for name in NAMES if cache.has(name)]
    found = {path.name for path in crew.folder.rglob("*") if path.is_file()}
    assert found == {*here, *(f"{name}.safetensors" for name in here), "tier"}
    assert cache.census().adapters == set(here)
    assert cache.census().cached_bytes == len(here) * SIZE
    assert 0 < len(here) * SIZE <= BUDGET
    for name in here:
        data = (crew.folder / f"{name}.safetensors").read_bytes()
        assert hashlib.sha256(data).hexdigest() == name
