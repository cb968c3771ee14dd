from pathlib import Path

import pytest

from lorajobs.processes.logs import ProcessLog


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[2026-11-22 07:10:20,385: INFO/MainProcess] Task received", False),
        ("[2026-11-22 07:10:20,385: WARNING/MainProcess] lease lost", True),
        ("[2026-11-22 07:10:20 +0000] [12] [INFO] Listening at", False),
        ("[2026-11-22 07:10:20 +0000] [12] [CRITICAL] WORKER TIMEOUT", True),
        ("5621:M 22 Nov 2026 07:10:20.420 * Ready to accept connections tcp", False),
        ("5621:M 22 Nov 2026 07:10:20.420 # Can't open the append-only file", True),
        ("5621:M 22 Nov 2026 07:10:20.385 # WARNING Memory overcommit must be enabled!", False),
        ("Traceback (most recent call last):", True),
        ("no level at all", False),
    ],
)
def test_the_level_decides_what_is_shown(tmp_path: Path, line: str, shown: bool) -> None:
    log = ProcessLog(tmp_path / "a.log")
    assert log.feed(line.encode() + b"\n") == ([line] if shown else [])
    log.close()
    assert (tmp_path / "a.log").read_text() == line + "\n"


def test_lines_are_joined_across_reads_and_unfinished_ones_kept(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "a.log")
    assert log.feed(b"ERROR on") == []
    assert log.feed(b"e\n  its ") == ["ERROR one"]
    assert log.end(died=False) == ["  its "]
    log.close()


def test_a_death_without_a_warning_shows_the_last_lines(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "a.log")
    log.feed(b"one\ntwo")
    assert log.end(died=True) == ["one", "two"]
    log.feed(b"INFO three\nERROR four\nINFO five\n")
    assert log.end(died=True) == []
    log.feed(b"six\n")
    assert log.end(died=False) == []
    log.close()


def test_a_verbose_one_shows_every_line(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "a.log", verbose=True)
    lines = ["INFO one", "WARNING two", "Memory overcommit must be enabled", "three"]
    assert log.feed("\n".join([*lines, ""]).encode()) == lines
    assert log.end(died=True) == []
    log.close()
