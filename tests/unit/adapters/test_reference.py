from pathlib import PurePosixPath

import pytest

from lorajobs.adapters.reference import (
    HubReference,
    PathReference,
    S3Reference,
    UrlReference,
    parse,
)
from lorajobs.errors import RequestError, UrlNotAllowed, ValidationFailed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:nerijs/pixel-art-xl", HubReference("nerijs/pixel-art-xl")),
        ("hf:minimaxir/sdxl-wrong-lora@v1.0", HubReference("minimaxir/sdxl-wrong-lora", "v1.0")),
        ("hf:a/b@refs/pr/3", HubReference("a/b", "refs/pr/3")),
        ("s3://adapters/team/x.safetensors", S3Reference("adapters", "team/x.safetensors")),
        ("s3://adapters/team/", S3Reference("adapters", "team/")),
        ("https://host/x.safetensors?a=B", UrlReference("https://host/x.safetensors?a=B")),
        ("HTTPS://Host.Example/X", UrlReference("https://host.example/X")),
        ("https://host", UrlReference("https://host/")),
        ("https://host/x#top", UrlReference("https://host/x")),
        ("http://host/x", UrlReference("http://host/x")),
        ("/srv/loras/x.safetensors", PathReference(PurePosixPath("/srv/loras/x.safetensors"))),
    ],
)
def test_each_form_is_read(text: str, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["hf:a/b", "hf:a/b@main", "s3://bucket/key", "https://host/x?y=z", "/srv/x"],
)
def test_the_canonical_text_reads_as_itself(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "absolute path"),
        ("a" * 2049, "2048"),
        ("hf:a/b\n", "printable"),
        ("hf:name-only", "hf:owner/name"),
        ("hf:a/b/c.safetensors", "weight_name"),
        ("hf:../b", "hf:owner/name"),
        ("hf:a/..", "hf:owner/name"),
        ("hf:a/b@", "branch, tag or commit"),
        ("hf:a/b@../x", "branch, tag or commit"),
        ("s3://bucket", "s3://bucket/key"),
        ("s3://Bucket_/key", "s3://bucket/key"),
        ("s3://bucket/a/../b", "segment"),
        ("s3://bucket/a//b", "segment"),
        ("s3://bucket/a?versionId=1", "newest version"),
        ("nerijs/pixel-art-xl", "did you mean `hf:nerijs/pixel-art-xl`?"),
        ("loras/x.safetensors", "absolute path"),
        ("~/x.safetensors", "absolute path"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ValidationFailed) as error:
        parse(text)
    assert says in error.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/x",
        "gs://bucket/x",
        "file:///etc/passwd",
        "data:,x",
        "https://user:secret@host/x",
        "https://",
        "https://host:99999/x",
        "https://host/a b",
    ],
)
def test_other_urls_are_not_allowed(text: str) -> None:
    with pytest.raises(UrlNotAllowed):
        parse(text)


def test_an_error_does_not_repeat_a_password() -> None:
    with pytest.raises(RequestError) as error:
        parse("https://user:secret@host/x")
    assert "secret" not in error.value.detail
