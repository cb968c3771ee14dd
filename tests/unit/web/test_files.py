"""`/files`: the pictures of the folder store."""

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from lorajobs.storage.folder import FolderStore
from tests.shelf import PUBLIC_URL
from tests.unit.web.api import Api, problem_of


def signed(api: Api, key: str, data: bytes = b"data") -> str:
    api.shelf.objects.put(key, data, "image/png")
    parts = urlsplit(api.shelf.objects.url(key).url)
    return f"{parts.path}?{parts.query}"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("jobs/j/1/0.png", "image/png"),
        ("jobs/j/1/0.jpeg", "image/jpeg"),
        ("jobs/j/1/0.webp", "image/webp"),
        ("jobs/j/1/0.html", "application/octet-stream"),
        ("jobs/j/1/ä b.png", "image/png"),
    ],
)
def test_a_signed_url_shows_the_object(api: Api, key: str, kind: str) -> None:
    answer = api.client.get(signed(api, key), buffered=True)
    assert (answer.status_code, answer.data, answer.content_type) == (200, b"data", kind)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "inline"
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "ä"},
        {"expires": "99999999999"},
        {"expires": ""},
        {"expires": "x"},
    ],
)
def test_a_changed_url_is_403(api: Api, change: dict[str, str]) -> None:
    path, _, query = signed(api, "jobs/j/1/0.png").partition("?")
    given = {name: values[0] for name, values in parse_qs(query).items()} | change
    document = problem_of(api.client.get(f"{path}?{urlencode(given)}"), 403, "forbidden")
    assert "GET the job again" in document["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/files/jobs/j/1/0.png",
        "/files/.signing-key",
        "/files/../../etc/passwd",
        "/files/%2e%2e/%2e%2e/etc/passwd",
        "/files//etc/passwd",
        "/files/a%00b",
    ],
)
def test_what_is_not_signed_is_not_shown(api: Api, path: str) -> None:
    signed(api, "jobs/j/1/0.png")
    assert api.client.get(path, follow_redirects=True).status_code in (403, 404)


def test_the_signature_of_one_object_does_not_open_another(api: Api) -> None:
    _, _, query = signed(api, "jobs/j/1/0.png").partition("?")
    signed(api, "jobs/j/1/1.png")
    problem_of(api.client.get(f"/files/jobs/j/1/1.png?{query}"), 403, "forbidden")


def test_an_expired_url_is_403(api: Api) -> None:
    signed(api, "jobs/j/1/0.png")
    at_once = FolderStore(api.shelf.folder, PUBLIC_URL, 0)
    url = at_once.url("jobs/j/1/0.png").url.removeprefix(PUBLIC_URL)
    document = problem_of(api.client.get(url), 403, "forbidden")
    assert "expired" in document["detail"]


def test_an_erased_object_is_404(api: Api) -> None:
    url = signed(api, "jobs/j/1/0.png")
    api.shelf.objects.delete("jobs/j/")
    problem_of(api.client.get(url), 404, "not_found")


def test_a_part_of_an_object_can_be_asked_for(api: Api) -> None:
    answer = api.client.get(
        signed(api, "jobs/j/1/0.png"), headers={"Range": "bytes=1-2"}, buffered=True
    )
    assert (answer.status_code, answer.data) == (206, b"at")
