"""Pictures fetched from URLs, from a real web server."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from lorajobs.errors import UrlNotAllowed
from lorajobs.image_errors import ImageFetchFailed, ImageNotFound, ImageTooLarge
from lorajobs.image_url import ImageUrls
from lorajobs.settings import Settings
from tests.images import encoded
from tests.services.files import FileServer, file_server, sends

PNG = encoded()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


def urls(timeout_s: float = 5) -> ImageUrls:
    return ImageUrls(
        Settings(
            fetch_private=("127.0.0.0/8",), fetch_timeout_s=timeout_s, image_max_bytes=len(PNG)
        )
    )


def test_a_picture_is_fetched_also_from_where_a_redirect_leads(server: FileServer) -> None:
    server.answers["/x"] = sends(b"", 302, Location=server.file("/real", PNG))
    assert urls().fetch(server.url + "/x") == PNG
    assert server.asked == ["/x", "/real"]
    assert server.headers_seen[0]["accept-encoding"] == "identity"


def test_private_addresses_are_not_even_asked(server: FileServer) -> None:
    strict = ImageUrls(Settings())
    for url in (server.file("/x", PNG), "https://[::1]/x", "https://169.254.169.254/x"):
        with pytest.raises(UrlNotAllowed, match="not public"):
            strict.fetch(url)
    assert server.asked == []


def test_a_redirect_is_vetted(server: FileServer) -> None:
    server.answers["/x"] = sends(b"", 302, Location="https://169.254.169.254/latest")
    with pytest.raises(UrlNotAllowed, match="not public"):
        urls().fetch(server.url + "/x")


def test_a_body_is_read_no_further_than_allowed(server: FileServer) -> None:
    server.file("/told", PNG + b"0")
    with pytest.raises(ImageTooLarge, match="allowed are"):
        urls().fetch(server.url + "/told")

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        # Until the other side hangs up.
        with suppress(ConnectionError):
            while True:
                handler.wfile.write(b"\0" * 65_536)

    server.answers["/endless"] = endless
    with pytest.raises(ImageTooLarge, match="more than the allowed"):
        urls().fetch(server.url + "/endless")


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, ImageNotFound), (403, ImageNotFound), (429, ImageFetchFailed), (500, ImageFetchFailed)],
)
def test_what_a_server_answers(server: FileServer, status: int, error: type[Exception]) -> None:
    server.answers["/x?token=secret"] = sends(b"", status)
    with pytest.raises(error, match=f"/x.…: its server answers {status}"):
        urls().fetch(server.url + "/x?token=secret")


def test_a_slow_server_is_left(server: FileServer) -> None:
    ended = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        ended.wait(30)

    server.answers["/x"] = silent
    try:
        with pytest.raises(ImageFetchFailed, match="LORAJOBS_FETCH_TIMEOUT_S"):
            urls(timeout_s=0.2).fetch(server.url + "/x")
    finally:
        ended.set()


def test_a_server_that_is_not_there(server: FileServer) -> None:
    with pytest.raises(ImageFetchFailed, match="broke off"):
        urls().fetch("http://127.0.0.1:9/x")
