"""Which store the settings choose."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorajobs.errors import ConfigError
from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.storage.folder import FolderStore
from lorajobs.storage.s3 import S3Store


def test_a_bucket_means_s3() -> None:
    store = open_store(Settings(s3_bucket="bucket", s3_access_key="key", s3_secret_key="secret"))

    assert isinstance(store, S3Store)


def test_no_bucket_means_a_folder(tmp_path: Path) -> None:
    store = open_store(Settings(data_dir=tmp_path))
    store.put("jobs/1/0.png", b"data", "image/png")

    assert isinstance(store, FolderStore)
    assert (tmp_path / "objects/jobs/1/0.png").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, "http://127.0.0.1:8000/files/a?"),
        ({"api_host": "::1", "api_port": 81}, "http://[::1]:81/files/a?"),
        ({"public_url": "https://pics.example.com/api/"}, "https://pics.example.com/api/files/a?"),
    ],
)
def test_folder_urls_are_those_of_the_api(
    tmp_path: Path, changes: dict[str, Any], start: str
) -> None:
    assert open_store(Settings(data_dir=tmp_path, **changes)).url("a").url.startswith(start)


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store(Settings(data_dir=Path("~/data"))).put("a", b"data", "image/png")

    assert (tmp_path / "data/objects/a").read_bytes() == b"data"


def test_a_data_dir_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match="LORAJOBS_DATA_DIR"):
        open_store(Settings(data_dir=tmp_path / "file"))


def test_the_folder_does_without_boto3(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from lorajobs.settings import Settings; from lorajobs.storage import open_store\n"
        f"open_store(Settings(data_dir=Path({str(tmp_path)!r})))\n"
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
