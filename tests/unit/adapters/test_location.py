import pytest

from lorajobs.adapters.location import Blob, HubFile, Location, S3Version, parse_location

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (
            HubFile("a/b", COMMIT, "sub/x@2.safetensors"),
            f"hf:a/b@{COMMIT}/sub/x@2.safetensors",
        ),
        (S3Version("bucket", "a/b c", "v=1"), "s3://bucket/a/b c?versionId=v=1"),
        (S3Version("bucket", "what?/x", "v"), "s3://bucket/what?/x?versionId=v"),
        (Blob("ab" * 32), "blob:" + "ab" * 32),
    ],
)
def test_a_location_survives_as_text(location: Location, text: str) -> None:
    assert str(location) == text
    assert parse_location(text) == location


@pytest.mark.parametrize(
    "text",
    ["", "hf:a/b@main/x", "s3://bucket/key", "blob:../../etc/passwd", f"blob:{'AB' * 32}", "x"],
)
def test_what_is_not_pinned_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="pinned"):
        parse_location(text)


def test_a_snapshot_is_named_by_its_hash() -> None:
    assert Blob("cd" * 32).key == "adapters/" + "cd" * 32 + ".safetensors"
