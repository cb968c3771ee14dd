"""A real HTTP server that gives prepared answers and keeps what it was asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.services.server import HOST, serving

Key = tuple[str, str]


class Answer(NamedTuple):
    """One reply."""

    body: bytes | dict[str, Any]
    status: int = 200
    content_type: str = "application/json"
    location: str | None = None


class ScriptedApi:
    """Replies by (method, path); the last of several answers is given again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[Key, list[Answer]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        #: the headers of each request, their names in lower case
        self.headers: list[dict[str, str]] = []

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Prepares the answers to one request."""
        self.answers[method, path] = list(answers)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """Notes a request, and finds its answer."""
        self.asked.append((method, path, body))
        prepared = self.answers.get((method, path))
        if not prepared:
            problem = {"title": "Not found", "detail": f"{method} {path}", "code": "x"}
            return Answer(problem, 404, "application/problem+json")
        return prepared.pop(0) if len(prepared) > 1 else prepared[0]


@contextmanager
def scripted_api() -> Iterator[ScriptedApi]:
    """Serves on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            length = int(self.headers.get("content-length", 0))
            raw = self.rfile.read(length)
            is_json = self.headers.get("content-type") == "application/json"
            body = json.loads(raw) if is_json else raw or None
            api.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = api.answer(method, self.path, body)
            data = (
                answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            )
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("content-length", str(len(data)))
            if answer.location:
                self.send_header("location", answer.location)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer((HOST, 0), Handler)) as server:
        api = ScriptedApi(f"http://{HOST}:{server.server_port}")
        yield api
