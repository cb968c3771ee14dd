"""The guarded client against real servers: what it refuses is never reached, what it reads ends."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest
import trustme

from lorajobs.errors import UrlNotAllowed
from lorajobs.guarded_http import BodyTooLarge, GuardedHttp, TooSlow, Unreachable
from lorajobs.reach import Reach
from lorajobs.settings import Settings
from tests.services.files import FileServer, file_server, sends
from tests.services.server import HOST
from tests.unit.test_reach import ELSEWHERE_INSIDE, LOOPBACK

STRICT = Reach.of_requests(Settings())
LOCAL = Reach.of_requests(Settings(fetch_private=("127.0.0.0/8",)))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


class Doorbell:
    """A port of this machine that counts who connects to it, at IPv4 and IPv6 addresses."""

    def __init__(self) -> None:
        self._listener = socket.create_server(
            ("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=200
        )
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]

    def rings(self) -> int:
        """Connections since the last call."""
        count = 0
        while True:
            try:
                self._listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def doorbell() -> Iterator[Doorbell]:
    bell = Doorbell()
    try:
        yield bell
    finally:
        bell.close()


def get(
    http: GuardedHttp, url: str, most: int = 1 << 20, within_s: float = 10.0, redirects: int = 0
) -> tuple[int, bytes]:
    with http.ask("GET", url, {}, within_s=within_s, redirects=redirects) as answer:
        return answer.status, b"".join(answer.chunks(most))


def test_the_doorbell_rings(doorbell: Doorbell) -> None:
    for host in (HOST, "::1"):
        socket.create_connection((host, doorbell.port)).close()
    assert doorbell.rings() == 2


def test_nothing_of_the_corpus_is_reached(doorbell: Doorbell) -> None:
    # Whoever opened every port and plain http still would not lead inside.
    http = GuardedHttp(replace(STRICT, ports=(doorbell.port,), http=True))
    for scheme in ("https", "http"):
        for host in (*LOOPBACK, *ELSEWHERE_INSIDE):
            with pytest.raises(UrlNotAllowed):
                get(http, f"{scheme}://{host}:{doorbell.port}/")
    assert doorbell.rings() == 0


def test_a_name_that_changes_between_check_and_use_is_not_followed(doorbell: Doorbell) -> None:
    answers = iter(["93.184.216.34", HOST, HOST])
    reach = replace(STRICT, ports=(doorbell.port,), resolve=lambda host, port: [next(answers)])
    url = f"https://rebinding.example:{doorbell.port}/"
    reach.vet(url)
    with pytest.raises(UrlNotAllowed, match="not public"):
        get(GuardedHttp(reach), url)
    assert doorbell.rings() == 0


def test_the_connection_is_made_to_what_was_vetted(server: FileServer) -> None:
    """One look-up per request: a second one would find another address, or none."""
    port = server.server_address[1]
    server.file("/x", b"data")
    asked = []

    def once(host: str, port: int) -> list[str]:
        asked.append(host)
        return [HOST] if len(asked) == 1 else ["0.0.0.0"]

    url = f"http://only-here.example:{port}/x"
    assert get(GuardedHttp(replace(LOCAL, resolve=once)), url) == (200, b"data")
    assert asked == ["only-here.example"]
    assert server.headers_seen[0]["host"] == f"only-here.example:{port}"


def test_the_next_address_is_tried(server: FileServer) -> None:
    port = server.server_address[1]
    server.file("/x", b"data")
    reach = replace(LOCAL, resolve=lambda host, port: ["127.0.0.9", "127.0.0.8", HOST])
    assert get(GuardedHttp(reach), f"http://many.example:{port}/x") == (200, b"data")


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "//[64:ff9b::7f00:1]:{port}/",
        "file:///etc/passwd",
        "http://user@127.0.0.1:{port}/",
    ],
)
def test_a_redirect_inside_is_not_followed(
    server: FileServer, doorbell: Doorbell, location: str
) -> None:
    # The name of the first server is listed, and nothing that it may lead to.
    reach = replace(STRICT, private=("first.example",), resolve=lambda host, port: [host_of(host)])
    server.answers["/x"] = sends(b"", 302, Location=location.format(port=doorbell.port))
    url = f"http://first.example:{server.server_address[1]}/x"
    with pytest.raises(UrlNotAllowed):
        get(GuardedHttp(reach), url, redirects=3)
    assert server.asked == ["/x"]
    assert doorbell.rings() == 0


def host_of(host: str) -> str:
    return HOST if host in ("first.example", "localhost") else host


def test_redirects_are_counted_and_may_be_forbidden(server: FileServer) -> None:
    server.answers["/x"] = sends(b"body", 302, Location="/y")
    server.answers["/y"] = sends(b"", 307, Location="#here")
    http = GuardedHttp(LOCAL)
    assert get(http, server.url + "/x") == (302, b"body")
    with pytest.raises(Unreachable, match="more than 2 redirects"):
        get(http, server.url + "/x", redirects=2)
    assert server.asked == ["/x", "/x", "/y", "/y"]


def test_a_huge_body_is_cut(server: FileServer) -> None:
    sent: list[int] = []
    over = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                sent.append(handler.wfile.write(b"\0" * (1 << 20)))
        except OSError:
            over.set()

    server.answers["/x"] = endless
    with pytest.raises(BodyTooLarge, match="more than the allowed 5000000"):
        get(GuardedHttp(LOCAL), server.url + "/x", most=5_000_000)
    assert over.wait(10)
    assert sum(sent) < 50_000_000


def test_a_body_announced_as_huge_is_not_read(server: FileServer) -> None:
    server.answers["/x"] = sends(b"", 200, **{"Content-Length": str(1 << 40)})
    with pytest.raises(BodyTooLarge, match=f"has {1 << 40} bytes"):
        get(GuardedHttp(LOCAL), server.url + "/x")


def dripping(start: bytes, drop: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Sends a little, time and again, until nobody listens."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(start)
            while True:
                handler.wfile.write(drop)
                threading.Event().wait(0.02)
        except OSError:
            pass

    return answer


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"."),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"", b"H"),
    ],
)
def test_a_drop_now_and_then_does_not_keep_it_for_ever(
    server: FileServer, start: bytes, drop: bytes
) -> None:
    server.answers["/x"] = dripping(start, drop)
    with pytest.raises(Unreachable):
        get(GuardedHttp(LOCAL), server.url + "/x", within_s=0.5)


def test_who_accepts_and_is_silent_is_left() -> None:
    with socket.create_server((HOST, 0)) as silent, pytest.raises(TooSlow):
        get(GuardedHttp(LOCAL), f"http://{HOST}:{silent.getsockname()[1]}/", within_s=0.2)


def test_a_port_nobody_listens_on() -> None:
    with pytest.raises(Unreachable, match="ConnectError"):
        get(GuardedHttp(LOCAL), f"http://{HOST}:1/")


def test_what_is_no_http_is_no_answer() -> None:
    with socket.create_server((HOST, 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n" * 10)
                connection.recv(1 << 16)

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(Unreachable):
            get(GuardedHttp(LOCAL), f"http://{HOST}:{server.getsockname()[1]}/")
        thread.join()


def test_no_proxy_of_the_environment_is_asked(
    server: FileServer, doorbell: Doorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://{HOST}:{doorbell.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    assert get(GuardedHttp(LOCAL), server.file("/x", b"data")) == (200, b"data")
    assert doorbell.rings() == 0


@contextmanager
def tls_server(name: str) -> Iterator[tuple[FileServer, ssl.SSLContext]]:
    """A server with a certificate of this name, and what trusts it."""
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert(name).configure_cert(theirs)
    with file_server() as server:
        server.socket = theirs.wrap_socket(server.socket, server_side=True)
        server.file("/x", b"data")
        yield server, ours


def test_the_certificate_is_that_of_the_name_though_an_address_is_dialed() -> None:
    reach = replace(LOCAL, resolve=lambda host, port: [HOST])
    with tls_server("files.example") as (server, trusted):
        http = GuardedHttp(reach, trusted)
        port = server.server_address[1]
        assert get(http, f"https://files.example:{port}/x") == (200, b"data")
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            get(http, f"https://other.example:{port}/x")
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            get(GuardedHttp(reach), f"https://files.example:{port}/x")
