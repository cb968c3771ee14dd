"""Servers of the test run: as a child with free ports, a log and a deadline, or in a thread."""

import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socketserver import BaseServer
from typing import TypeVar

from tests.services.leash import leashed

HOST = "127.0.0.1"
#: below those that the kernel gives to outgoing connections, so none is lost before it is used
PORTS = range(10_000, 32_000)
POLL_S = 0.02

S = TypeVar("S", bound=BaseServer)


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nobody listens."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            port = secrets.choice(PORTS)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
        return ports


@contextmanager
def serving(server: S) -> Iterator[S]:
    """Answers requests in a thread of this process, and closes the server at the end."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(
    argv: Sequence[str],
    folder: Path,
    ready: Callable[[int], bool],
    *,
    deadline_s: float,
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Starts a server in `folder`, waits until `ready(pid)`, yields its process id, kills it.

    Raises: RuntimeError with the end of its log if it ends or is not ready within `deadline_s`.
    """
    log = folder / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            leashed(argv),
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for pytest alone, which then ends its servers in order.
            start_new_session=True,
        )
    try:
        _wait(process, lambda: ready(process.pid), deadline_s, log)
        yield process.pid
    finally:
        # Its session, because a server may be a script that waits for the real one.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], deadline_s: float, log: Path
) -> None:
    deadline = time.monotonic() + deadline_s
    while not ready():
        if process.poll() is not None:
            fault = f"ended with {process.returncode}"
        elif time.monotonic() > deadline:
            fault = f"was not ready within {deadline_s:g} s"
        else:
            time.sleep(POLL_S)
            continue
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{process.args!r} {fault}; its log ends:\n{tail}")
