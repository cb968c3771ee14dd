"""The smallest server of a folder store's signed URLs, for tests of the store alone."""

from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, unquote, urlsplit

from lorajobs.storage.folder import Announced, FolderStore
from lorajobs.upload_errors import UploadMismatch
from tests.services.server import HOST, serving


class SignedFiles(ThreadingHTTPServer):
    """Answers GET and PUT of `/files/<key>` from `store` with 200, 403, 404 or 422."""

    daemon_threads = True
    store: FolderStore

    @property
    def url(self) -> str:
        """What the store's URLs begin with."""
        return f"http://{HOST}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: SignedFiles

    def do_GET(self) -> None:
        key, query = self._asked()
        expires, signature = query.get("expires", ""), query.get("signature", "")
        try:
            path = self.server.store.open_signed(key, expires, signature)
        except PermissionError:
            self._answer(403, b"")
        except FileNotFoundError:
            self._answer(404, b"")
        else:
            self._answer(200, path.read_bytes())

    def do_PUT(self) -> None:
        key, query = self._asked()
        said = Announced(*(query.get(name, "") for name in Announced._fields))
        body = BytesIO(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.server.store.receive(key, said, query.get("signature", ""), body)
        except PermissionError:
            self._answer(403, b"")
        except UploadMismatch:
            self._answer(422, b"")
        else:
            self._answer(200, b"")

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return unquote(parts.path.removeprefix("/files/")), query

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def signed_files() -> AbstractContextManager[SignedFiles]:
    """Listens on a free port; set `store` before the first request."""
    return serving(SignedFiles((HOST, 0), _Handler))
