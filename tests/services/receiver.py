"""A webhook receiver that keeps what it was sent and answers as it is told."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.services.server import HOST, serving


class Received(NamedTuple):
    """One request: its path, headers (lower case) and body."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """What arrived so far; `statuses` are the next answers, then 204."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.statuses: list[int] = []
        #: of every answer
        self.headers: dict[str, str] = {}
        #: chooses the answer after those; None hangs up without one
        self.choose: Callable[[Received], int | None] = lambda received: 204
        self._free = threading.Event()
        self._free.set()
        self._changed = threading.Condition()

    def hold(self) -> None:
        """Answers nobody until `let_go`."""
        self._free.clear()

    def let_go(self) -> None:
        """Answers again."""
        self._free.set()

    def take(self, received: Received) -> int | None:
        """Keeps a request; returns the status to answer with."""
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
            status = self.statuses.pop(0) if self.statuses else None
        self._free.wait()
        return self.choose(received) if status is None else status

    def wait(self, count: int, timeout_s: float = 20) -> list[Received]:
        """The requests once there are so many.

        Raises: AssertionError.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.received) >= count, timeout_s)
            assert done, f"{len(self.received)} of {count} requests in {timeout_s:g} s"
            return list(self.received)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Runs a receiver on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = made.take(Received(self.path, headers, body))
            if status is None:
                self.close_connection = True
                return
            # Whoever asked may have left.
            with suppress(OSError):
                self.send_response(status)
                for name, value in {"content-length": "0", **made.headers}.items():
                    self.send_header(name, value)
                self.end_headers()

        # As uploads come, and looks for what was uploaded.
        do_PUT = do_POST

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer((HOST, 0), Handler)) as server:
        made = Receiver(f"http://{HOST}:{server.server_port}")
        try:
            yield made
        finally:
            made.let_go()
