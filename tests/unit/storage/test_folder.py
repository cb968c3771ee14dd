"""The folder store below its contract: signatures, the shared key, what it leaves on the disk."""

import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lorajobs.errors import ConfigError, UploadFailed
from lorajobs.storage.folder import FolderStore

KEY = "jobs/1/0.png"
HOST = "http://127.0.0.1:8000"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects", HOST, ttl_s=60)


def ticket(store: FolderStore, key: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(store.url(key).url).query)
    return query["expires"][0], query["signature"][0]


def test_urls_are_the_apis(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, "https://pics.example.com/", ttl_s=60)

    assert re.fullmatch(
        r"https://pics\.example\.com/files/jobs/a%20b\.png\?expires=\d+&signature=[0-9a-f]{64}",
        store.url("jobs/a b.png").url,
    )


def test_a_signed_url_opens_its_file(store: FolderStore) -> None:
    store.put(KEY, b"data", "image/png")
    expires, signature = ticket(store, KEY)

    assert store.open_signed(KEY, expires, signature).read_bytes() == b"data"
    assert store.open_signed(KEY, int(expires), signature).read_bytes() == b"data"


def test_a_signature_is_for_one_key_and_one_end(store: FolderStore) -> None:
    store.put(KEY, b"data", "image/png")
    store.put("jobs/1/1.png", b"data", "image/png")
    expires, signature = ticket(store, KEY)

    for wrong in (
        ("jobs/1/1.png", expires, signature),
        (KEY, str(int(expires) + 1), signature),
        (KEY, f" {expires}", signature),
        (KEY, "", signature),
        (KEY, expires, ""),
        (KEY, expires, signature.upper()),
        (KEY, expires, signature[:-1]),
        (KEY, expires, "\u00e9\ud800"),
        (f"{KEY}\ud800", expires, signature),
    ):
        with pytest.raises(PermissionError, match="signature"):
            store.open_signed(*wrong)


def test_an_expired_url_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, HOST, ttl_s=-1)
    store.put(KEY, b"data", "image/png")

    with pytest.raises(PermissionError, match="expired"):
        store.open_signed(KEY, *ticket(store, KEY))


def test_a_url_of_another_store_is_refused(store: FolderStore, tmp_path: Path) -> None:
    store.put(KEY, b"data", "image/png")
    other = FolderStore(tmp_path / "other", HOST, ttl_s=60)

    with pytest.raises(PermissionError, match="signature"):
        store.open_signed(KEY, *ticket(other, KEY))


def test_a_signed_url_of_nothing_is_not_found(store: FolderStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.open_signed(KEY, *ticket(store, KEY))


@pytest.mark.parametrize(
    "key",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "", ".", ".signing-key", "a/.b", "a\0b"],
)
def test_no_key_leaves_the_folder(store: FolderStore, tmp_path: Path, key: str) -> None:
    outside = tmp_path / "x"
    outside.write_text("outside")

    with pytest.raises(ValueError, match="not a key"):
        store.put(key, b"data", "image/png")
    with pytest.raises(ValueError, match="not a key"):
        store.url(key)
    with pytest.raises(ValueError, match="not a key"):
        store.fetch(key, tmp_path / "copy", max_bytes=100)
    with pytest.raises(PermissionError):
        store.open_signed(key, str(int(time.time()) + 60), "0" * 64)
    assert outside.read_text() == "outside"


@pytest.mark.parametrize("prefix", ["../", "../x", "a/../../x/"])
def test_no_deletion_leaves_the_folder(store: FolderStore, tmp_path: Path, prefix: str) -> None:
    outside = tmp_path / "x" / "file"
    outside.parent.mkdir()
    outside.write_text("outside")

    with pytest.raises(ValueError, match="not a key"):
        store.delete(prefix)

    assert outside.exists()


def test_the_signing_key_is_the_users_alone_and_lasts(tmp_path: Path) -> None:
    first = FolderStore(tmp_path, HOST, ttl_s=60)
    file = tmp_path / ".signing-key"
    first.put(KEY, b"data", "image/png")
    first.delete(".")
    second = FolderStore(tmp_path, HOST, ttl_s=60)

    assert file.stat().st_mode & 0o777 == 0o600
    assert second.open_signed(KEY, *ticket(first, KEY)).read_bytes() == b"data"


def test_processes_that_start_at_once_share_a_key(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    code = (
        "import sys; from pathlib import Path; from lorajobs.storage.folder import FolderStore\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(FolderStore(Path({str(root)!r}), 'http://h', 10**9).url('a').url)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    urls = [racer.communicate()[0] for racer in racers]

    judge = FolderStore(root, HOST, ttl_s=60)
    judge.put("a", b"data", "image/png")
    for url in urls:
        query = parse_qs(urlsplit(url.strip()).query)
        judge.open_signed("a", query["expires"][0], query["signature"][0])


def test_a_damaged_signing_key_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / ".signing-key").write_bytes(b"")

    with pytest.raises(ConfigError, match=r"\.signing-key is damaged"):
        FolderStore(tmp_path, HOST, ttl_s=60)


def test_writes_and_deletions_leave_nothing_behind(store: FolderStore, tmp_path: Path) -> None:
    store.put(KEY, b"data", "image/png")
    with pytest.raises(UploadFailed, match="directory"):
        store.put("jobs/1", b"a folder is in the way", "image/png")
    store.delete("jobs/1/")

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"objects", "objects/.incoming", "objects/.signing-key", "objects/jobs"}
