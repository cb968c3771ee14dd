import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorajobs.embedded.valkey import EmbeddedValkey
from lorajobs.errors import ConfigError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    yield server
    server.close()


def test_its_command_line_keeps_jobs_and_stays_on_this_machine(server: EmbeddedValkey) -> None:
    program, *words = server.argv()
    assert os.access(program, os.X_OK)
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert options["--port"] == str(server.port)
    assert options["--dir"] == str(server.folder)
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert not server.ready()


def test_the_folder_is_for_one_user(server: EmbeddedValkey) -> None:
    assert server.folder.stat().st_mode & 0o077 == 0


def test_a_second_one_on_the_folder_is_refused(server: EmbeddedValkey) -> None:
    with pytest.raises(ConfigError, match=f"a Valkey on port {server.port} already runs on"):
        EmbeddedValkey(server.folder, wait_s=0)


def test_the_folder_is_free_again_after_the_first(tmp_path: Path) -> None:
    EmbeddedValkey(tmp_path, port=7001).close()
    second = EmbeddedValkey(tmp_path, port=7002, wait_s=0)
    assert (tmp_path / "lock").read_text() == "7002"
    second.close()


def test_the_folder_stays_locked_while_the_server_lives(tmp_path: Path) -> None:
    first = EmbeddedValkey(tmp_path)
    code = "import signal; print(flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], pass_fds=[first.lock_fd], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        first.close()
        with pytest.raises(ConfigError, match="already runs"):
            EmbeddedValkey(tmp_path, wait_s=0)
        process.kill()
    EmbeddedValkey(tmp_path, wait_s=0).close()
