"""The disk cache under several processes of one machine."""

import fcntl
import hashlib
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

from lorajobs.adapters.cache import DiskCache, Fetch
from tests.lora_files import lora

DATA = lora()
SHA256 = hashlib.sha256(DATA).hexdigest()


def _logged(log: Path) -> Fetch:
    def fetch(target: Path) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        target.write_bytes(DATA)

    return fetch


def _ensure(folder: Path, log: Path, ready: Connection) -> None:
    cache = DiskCache(folder, 1 << 20)
    ready.send("ready")
    ready.send(str(cache.ensure(SHA256, len(DATA), _logged(log), "x")))


def test_two_processes_at_once_make_one_download(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    (folder / "locks").mkdir(parents=True)
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(2)]
    children = [spawn.Process(target=_ensure, args=(folder, log, pipe[1])) for pipe in pipes]
    with (folder / "locks" / SHA256).open("w") as lock:
        # While this process holds it, neither of them can begin.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for child in children:
            child.start()
        assert [mine.recv() for mine, _ in pipes] == ["ready", "ready"]
        assert not log.exists()
    assert {mine.recv() for mine, _ in pipes} == {str(folder / f"{SHA256}.safetensors")}
    for child in children:
        child.join()
    for mine, theirs in pipes:
        mine.close()
        theirs.close()
    assert [child.exitcode for child in children] == [0, 0]
    assert len(log.read_text().splitlines()) == 1
