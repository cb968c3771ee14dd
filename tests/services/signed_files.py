"""The smallest server of a folder store's signed URLs, for tests of the store alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from lorajobs.storage.folder import FolderStore


class SignedFiles(ThreadingHTTPServer):
    """Answers GET of `/files/<key>` from `store` with 200, 403 or 404."""

    daemon_threads = True
    store: FolderStore

    @property
    def url(self) -> str:
        """What the store's URLs begin with."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: SignedFiles

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path.removeprefix("/files/"))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        expires, signature = query.get("expires", ""), query.get("signature", "")
        try:
            path = self.server.store.open_signed(key, expires, signature)
        except PermissionError:
            self._answer(403, b"")
        except FileNotFoundError:
            self._answer(404, b"")
        else:
            self._answer(200, path.read_bytes())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def signed_files() -> Iterator[SignedFiles]:
    """Listens on a free port; set `store` before the first request."""
    with SignedFiles(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
