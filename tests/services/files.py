"""A web server for tests that answers each path as it was told."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

from tests.services.server import HOST, serving

#: Answers one GET, headers included.
Answer = Callable[[BaseHTTPRequestHandler], None]


class FileServer(ThreadingHTTPServer):
    """The server; `answers` by path, `asked` is every path that was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.headers_seen: list[dict[str, str]] = []

    def file(self, path: str, data: bytes) -> str:
        """Serves bytes under a path, and returns its URL."""
        self.answers[path] = sends(data)
        return self.url + path


def sends(data: bytes, status: int = 200, **headers: str) -> Answer:
    """Answers with these bytes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def file_server() -> AbstractContextManager[FileServer]:
    """Runs a server in a thread of this process."""
    return serving(FileServer())


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = cast(FileServer, self.server)
        server.asked.append(self.path)
        server.headers_seen.append(dict(self.headers.items()))
        server.answers.get(self.path, sends(b"", 404))(self)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `asked`."""
