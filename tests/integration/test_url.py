import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from lorajobs.adapters.folder import Trust
from lorajobs.adapters.reference import UrlReference
from lorajobs.adapters.url import UrlFolder, UrlSource
from lorajobs.errors import LoraFetchFailed, LoraNotFound, LoraTooLarge, UrlNotAllowed
from lorajobs.settings import Settings
from tests.lora_files import lora
from tests.services.files import FileServer, file_server, sends

DATA = lora()
SOURCE = UrlSource(Settings(fetch_private=("127.0.0.0/8",), fetch_timeout_s=5))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


def opened(url: str) -> UrlFolder:
    return SOURCE.open(UrlReference(url), Trust.CALLER, "my file")


def download(url: str, target: Path, max_bytes: int = 1 << 20) -> bytes:
    folder = opened(url)
    folder.copy(folder.names[0], target, max_bytes)
    return target.read_bytes()


def test_a_file_is_downloaded(server: FileServer, tmp_path: Path) -> None:
    url = server.file("/a/pixel.safetensors?key=1", DATA)
    folder = opened(url)
    assert (folder.where, folder.names) == ("my file", ["pixel.safetensors"])
    assert server.asked == []
    assert download(url, tmp_path / "x") == DATA
    assert server.headers_seen[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x.safetensors", "x.safetensors"),
        ("/my%20lora.safetensors", "my lora.safetensors"),
        ("/api/download/models/128713", "128713.safetensors"),
        ("/x.ckpt", "x.ckpt"),
        ("/", "weights.safetensors"),
    ],
)
def test_the_file_is_named_after_the_path(path: str, name: str) -> None:
    assert opened(f"http://127.0.0.1:1{path}").names == [name]


def test_a_redirect_is_followed(server: FileServer, tmp_path: Path) -> None:
    target = server.file("/real", DATA)
    server.answers["/x"] = sends(b"", 302, Location="/hop")
    server.answers["/hop"] = sends(b"", 307, Location=target)
    assert download(server.url + "/x", tmp_path / "x") == DATA
    assert server.asked == ["/x", "/hop", "/real"]


def test_redirects_end(server: FileServer, tmp_path: Path) -> None:
    server.answers["/x"] = sends(b"", 302, Location="/x")
    with pytest.raises(LoraFetchFailed, match="more than 3 redirects"):
        download(server.url + "/x", tmp_path / "x")
    assert len(server.asked) == 4


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/"])
def test_a_redirect_is_vetted(server: FileServer, tmp_path: Path, location: str) -> None:
    server.answers["/x"] = sends(b"", 302, Location=location)
    with pytest.raises(UrlNotAllowed, match="must begin with https://"):
        download(server.url + "/x", tmp_path / "x")


def test_private_addresses_are_not_even_asked(server: FileServer, tmp_path: Path) -> None:
    strict = UrlSource(Settings())
    url = server.file("/x", DATA)
    with pytest.raises(UrlNotAllowed, match="LORAJOBS_FETCH_PRIVATE"):
        strict.open(UrlReference(url), Trust.REGISTERED, "x")
    with pytest.raises(UrlNotAllowed, match="not public"):
        strict.open(UrlReference(url.replace("http:", "https:")), Trust.CONFIGURED, "x")
    with pytest.raises(UrlNotAllowed):
        strict.download(url, tmp_path / "x", 1 << 20, "x")
    assert server.asked == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_file_is_cut_off(server: FileServer, tmp_path: Path, announced: bool) -> None:
    sent: list[int] = []
    done = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while True:
                sent.append(handler.wfile.write(b"\0" * (1 << 20)))
        except OSError:
            done.set()

    server.answers["/x"] = endless
    with pytest.raises(LoraTooLarge, match="allowed"):
        download(server.url + "/x", tmp_path / "x", max_bytes=5 << 20)
    assert done.wait(10)
    assert len(sent) < 100
    target = tmp_path / "x"
    assert not target.exists() or target.stat().st_size <= 5 << 20


def test_a_trickling_server_is_left(server: FileServer, tmp_path: Path) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not stop.wait(0.01):
                handler.wfile.write(b"\0" * (1 << 16))
        except OSError:
            stop.set()

    server.answers["/x"] = trickle
    hasty = UrlSource(Settings(fetch_private=("127.0.0.0/8",), fetch_timeout_s=0.2))
    with pytest.raises(LoraFetchFailed, match="LORAJOBS_FETCH_TIMEOUT_S"):
        hasty.download(server.url + "/x", tmp_path / "x", 1 << 40, "x")
    assert stop.wait(10)


def test_a_silent_server_is_left(server: FileServer, tmp_path: Path) -> None:
    leave = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        leave.wait(30)

    server.answers["/x"] = silent
    hasty = UrlSource(Settings(fetch_private=("127.0.0.0/8",), fetch_timeout_s=0.2))
    with pytest.raises(LoraFetchFailed, match="LORAJOBS_FETCH_TIMEOUT_S"):
        hasty.download(server.url + "/x", tmp_path / "x", 1 << 20, "x")
    leave.set()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, LoraNotFound),
        (401, LoraNotFound),
        (403, LoraNotFound),
        (410, LoraNotFound),
        (204, LoraNotFound),
        (429, LoraFetchFailed),
        (500, LoraFetchFailed),
        (503, LoraFetchFailed),
    ],
)
def test_an_error_answer_is_reported(
    server: FileServer, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    server.answers["/x"] = sends(b"", status)
    with pytest.raises(error, match=str(status)):
        download(server.url + "/x", tmp_path / "x")


def test_a_body_shorter_than_announced_is_refused(server: FileServer, tmp_path: Path) -> None:
    server.answers["/x"] = sends(DATA[:100], Content_Length=str(len(DATA)))
    with pytest.raises(LoraFetchFailed, match="broke off"):
        download(server.url + "/x", tmp_path / "x")


def test_nobody_listens(tmp_path: Path) -> None:
    with file_server() as gone:
        url = gone.url
    with pytest.raises(LoraFetchFailed):
        download(url + "/x", tmp_path / "x")
