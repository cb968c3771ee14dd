"""Files out of requests."""

from pathlib import Path

import pytest

from lorajobs.adapters.folder import Trust
from lorajobs.adapters.reference import parse
from lorajobs.adapters.upload import Upload, UploadSource, sent
from lorajobs.errors import LoraTooLarge, UrlNotAllowed


class Endless:
    """A body that never ends."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        self.read_bytes += size
        return bytes(size)


def test_a_body_without_end_is_left_once_it_is_too_large(tmp_path: Path) -> None:
    body = Endless()
    folder = UploadSource().open(Upload("a.safetensors", sent(body)), Trust.OWNED, "the upload")
    assert list(folder.names) == ["a.safetensors"]
    target = tmp_path / "part"
    with pytest.raises(LoraTooLarge, match="the upload has more than the 3000000 bytes"):
        folder.copy("a.safetensors", target, 3_000_000)
    assert target.stat().st_size <= 3_000_000
    assert body.read_bytes <= 3_000_000 + (1 << 20)


def test_two_uploads_of_one_name_are_two_and_none_can_be_written(tmp_path: Path) -> None:
    first, second = (str(Upload("a.safetensors", sent(Endless()))) for _ in range(2))
    assert first != second
    for text in (first, second):
        with pytest.raises(UrlNotAllowed):
            parse(text)
