"""The S3 store's settings, and servers that fail halfway."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lorajobs.errors import ConfigError, UploadFailed
from lorajobs.settings import Settings
from lorajobs.storage.s3 import S3Store

KEYS: dict[str, Any] = {"s3_access_key": "key", "s3_secret_key": "secret", "s3_bucket": "bucket"}


class Flaky(BaseHTTPRequestHandler):
    """Takes a PUT after as many 503 as `refusals` says; answers GET with half of the body."""

    # Only then does it answer the `Expect: 100-continue` that boto3 waits a second for.
    protocol_version = "HTTP/1.1"
    refusals = 0
    puts = 0

    def do_PUT(self) -> None:
        Flaky.puts += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if Flaky.puts <= Flaky.refusals else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x" * 50)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    Flaky.puts = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s3_bucket": None}, "LORAJOBS_S3_BUCKET"),
        ({"s3_access_key": None}, "LORAJOBS_S3_ACCESS_KEY: set both"),
        ({"s3_secret_key": None}, "LORAJOBS_S3_SECRET_KEY: set both"),
        ({"s3_access_key": None, "s3_secret_key": None}, "LORAJOBS_S3_ACCESS_KEY.*boto3"),
        ({"s3_endpoint": "s3.example.com"}, "LORAJOBS_S3_ENDPOINT: Invalid endpoint"),
        ({"s3_public_endpoint": "pics"}, "LORAJOBS_S3_PUBLIC_ENDPOINT: Invalid endpoint"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        S3Store(Settings(**KEYS | changes))


@pytest.mark.parametrize("name", ["s3_retries", "url_ttl_s"])
def test_settings_that_s3_cannot_keep_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LORAJOBS_{name.upper()}", "0")
    with pytest.raises(ConfigError, match=f"LORAJOBS_{name.upper()}"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"s3_endpoint": "http://s3:9000"}, "http://s3:9000/bucket/a/0.png?"),
        (
            {"s3_endpoint": "http://s3:9000", "s3_path_style": False},
            "http://bucket.s3:9000/a/0.png?",
        ),
        (
            {"s3_endpoint": "http://s3:9000", "s3_public_endpoint": "https://pics.example.com"},
            "https://pics.example.com/bucket/a/0.png?",
        ),
        ({"s3_region": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com/bucket/a/0.png?"),
        (
            {"s3_region": "eu-west-1", "s3_path_style": False},
            "https://bucket.s3.eu-west-1.amazonaws.com/a/0.png?",
        ),
    ],
)
def test_urls_follow_the_settings(changes: dict[str, str], start: str) -> None:
    url = S3Store(Settings(**KEYS | changes)).url("a/0.png").url

    assert url.startswith(start)
    assert f"%2F{changes.get('s3_region', 'us-east-1')}%2Fs3%2Faws4_request" in url


def test_a_call_is_tried_as_often_as_the_setting_says(endpoint: str) -> None:
    Flaky.refusals = 1

    with pytest.raises(UploadFailed, match=r"a/0\.png was not stored: S3 answers 503"):
        S3Store(Settings(**KEYS, s3_endpoint=endpoint, s3_retries=1)).put("a/0.png", b"x", "x/y")
    assert Flaky.puts == 1

    Flaky.puts = 0
    S3Store(Settings(**KEYS, s3_endpoint=endpoint, s3_retries=2)).put("a/0.png", b"x", "x/y")
    assert Flaky.puts == 2


def test_half_a_body_is_an_error_and_no_file(endpoint: str, tmp_path: Path) -> None:
    store = S3Store(Settings(**KEYS, s3_endpoint=endpoint, s3_retries=1))

    with pytest.raises(OSError, match="s3://bucket/a") as caught:
        store.fetch("a", tmp_path / "copy", max_bytes=1000)

    assert type(caught.value) is OSError
    assert not (tmp_path / "copy").exists()
