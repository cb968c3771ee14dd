"""The key goes to the API and to nobody else."""

import httpx
import pytest

from lorajobs.bearer import Bearer


def shown(api: str, url: str) -> str | None:
    auth = Bearer(httpx.URL(api), "lj_a_b")
    sent = next(auth.auth_flow(httpx.Request("GET", url)))
    return dict(sent.headers).get("authorization")


@pytest.mark.parametrize(
    ("api", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/jobs"),
        ("https://api.example/below", "https://API.example:443/below/v1/jobs"),
    ],
)
def test_the_api_sees_the_key(api: str, url: str) -> None:
    assert shown(api, url) == "Bearer lj_a_b"


@pytest.mark.parametrize(
    "url",
    [
        "https://bucket.example/jobs/j/0.png?X-Amz-Signature=1",
        "http://api.example/v1/jobs",
        "https://api.example:8443/v1/jobs",
        "https://api.example.evil/v1/jobs",
        "https://evil.example/@api.example/",
    ],
)
def test_nobody_else_does(url: str) -> None:
    assert shown("https://api.example", url) is None
