"""A hub for tests: the routes of huggingface.co that its client calls, over real HTTP."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, cast
from urllib.parse import unquote, urlsplit

from tests.services.server import HOST, serving

_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_CDN = re.compile(r"/cdn/(?P<sha256>[0-9a-f]{64})")


class Request(NamedTuple):
    """What the server was asked, with the `Authorization` header it came with."""

    method: str
    path: str
    authorization: str | None


class Refusal(Exception):
    """An error answer of the hub."""

    def __init__(self, status: int, code: str | None = None) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code


@dataclass
class Repo:
    """A model repository; `main` is the only branch."""

    card: Mapping[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    #: suffixes of the files that are kept in Git LFS
    lfs: tuple[str, ...] = (".safetensors", ".bin")
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    main: str = ""

    def commit(self, files: Mapping[str, bytes]) -> str:
        """Moves `main` to these files, and returns the commit."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        text = repr(sorted(hashes.items())) + self.main
        self.main = hashlib.sha1(text.encode()).hexdigest()
        self.commits[self.main] = dict(files)
        return self.main


class Hub(ThreadingHTTPServer):
    """The server and all that it holds; `requests` is what it was asked so far."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.repos: dict[str, Repo] = {}
        self.tokens: set[str] = set()
        self.requests: list[Request] = []
        #: answers every question with this status while set
        self.broken: int | None = None
        #: answers every question with this page while set, as a captive portal does
        self.page: bytes | None = None
        #: what the storage sends for a file, by the hash of the right one
        self.corrupted: dict[str, bytes] = {}
        #: whether the storage sends parts of files to those who ask for them
        self.ranges = True

    def add(self, name: str, repo: Repo, files: Mapping[str, bytes]) -> Repo:
        """Creates a repository with one commit."""
        repo.commit(files)
        self.repos[name] = repo
        return repo

    def downloads(self) -> int:
        """How often the bytes of any file were sent."""
        return sum(
            r.method == "GET" and not r.path.startswith("/api/") and "/resolve/" not in r.path
            for r in self.requests
        )

    def tokens_seen(self) -> set[str | None]:
        """Every `Authorization` header that came, None for none."""
        return {request.authorization for request in self.requests}


def hub() -> AbstractContextManager[Hub]:
    """Runs an empty hub in a thread of this process."""
    return serving(Hub())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _hub(self) -> Hub:
        return cast(Hub, self.server)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `requests`."""

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        asked = Request(self.command, path, self.headers.get("Authorization"))
        self._hub.requests.append(asked)
        try:
            if self._hub.broken:
                raise Refusal(self._hub.broken)
            if self._hub.page is not None:
                self._send(200, self._hub.page, {})
            elif match := _INFO.fullmatch(path):
                self._info(unquote(match["repo"]), match["revision"])
            elif match := _TREE.fullmatch(path):
                self._tree(unquote(match["repo"]), match["revision"])
            elif match := _FILE.fullmatch(path):
                self._file(match["repo"], match["revision"], unquote(match["file"]))
            elif match := _CDN.fullmatch(path):
                self._cdn(match["sha256"])
            else:
                raise Refusal(404)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
            self._send(refusal.status, b"{}", headers)

    def _repo(self, name: str) -> tuple[Repo, bool]:
        """The repository, and True if a good token came."""
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        known = given in self._hub.tokens
        if given and not known:
            raise Refusal(401)
        repo = self._hub.repos.get(name)
        if repo is None or (repo.private and not known):
            raise Refusal(404 if known else 401, "RepoNotFound")
        return repo, known

    def _commit(self, repo: Repo, revision: str | None) -> str:
        commit = repo.main if revision in (None, "main") else unquote(str(revision))
        if commit not in repo.commits:
            raise Refusal(404, "RevisionNotFound")
        return commit

    def _info(self, name: str, revision: str | None) -> None:
        repo, _ = self._repo(name)
        commit = self._commit(repo, revision)
        document = {
            "id": name,
            "sha": commit,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "tags": list(repo.tags),
            "cardData": dict(repo.card),
            "siblings": [
                {"rfilename": file, "size": len(data), **self._lfs(repo, file, data)}
                for file, data in repo.commits[commit].items()
            ],
        }
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _tree(self, name: str, revision: str) -> None:
        repo, _ = self._repo(name)
        document = [
            {
                "type": "file",
                "path": file,
                "size": len(data),
                "oid": _blob_id(data),
                **self._lfs(repo, file, data),
            }
            for file, data in repo.commits[self._commit(repo, revision)].items()
        ]
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _lfs(self, repo: Repo, file: str, data: bytes) -> dict[str, object]:
        if not file.endswith(repo.lfs):
            return {}
        sha256 = hashlib.sha256(data).hexdigest()
        return {"lfs": {"sha256": sha256, "oid": sha256, "size": len(data), "pointerSize": 134}}

    def _file(self, name: str, revision: str, file: str) -> None:
        repo, known = self._repo(name)
        if repo.gated and not known:
            raise Refusal(401, "GatedRepo")
        commit = self._commit(repo, revision)
        if file not in repo.commits[commit]:
            raise Refusal(404, "EntryNotFound")
        data = repo.commits[commit][file]
        headers = {"X-Repo-Commit": commit}
        if file.endswith(repo.lfs):
            sha256 = hashlib.sha256(data).hexdigest()
            # Another host than the hub's own, as there.
            headers["Location"] = f"http://localhost:{self._hub.server_address[1]}/cdn/{sha256}"
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
            self._send(302, b"", headers)
            return
        self._send(200, data, headers | {"ETag": f'"{_blob_id(data)}"'})

    def _cdn(self, sha256: str) -> None:
        if sha256 in self._hub.corrupted:
            self._send(200, self._hub.corrupted[sha256], {})
            return
        for repo in self._hub.repos.values():
            for files in repo.commits.values():
                for data in files.values():
                    if hashlib.sha256(data).hexdigest() == sha256:
                        self._part(data)
                        return
        raise Refusal(404)

    def _part(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=0-(\d+)", self.headers.get("Range") or "")
        if not wanted or not self._hub.ranges:
            self._send(200, data, {})
            return
        part = data[: int(wanted[1]) + 1]
        self._send(206, part, {"Content-Range": f"bytes 0-{len(part) - 1}/{len(data)}"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
