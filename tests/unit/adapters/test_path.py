import os
from pathlib import Path, PurePosixPath

import pytest

from lorajobs.adapters.folder import Trust
from lorajobs.adapters.path import PathFolder, PathSource
from lorajobs.adapters.reference import PathReference
from lorajobs.errors import LoraNotFound, LoraTooLarge, PathNotAllowed
from lorajobs.settings import Settings
from tests.lora_files import lora, peft_folder, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "loras", {"x.safetensors": lora()})


def opened(path: Path | str, *roots: Path, trust: Trust = Trust.CALLER) -> PathFolder:
    source = PathSource(Settings(lora_roots=roots))
    return source.open(PathReference(PurePosixPath(path)), trust, str(path))


def test_a_file_below_a_root_is_read(root: Path, tmp_path: Path) -> None:
    folder = opened(root / "x.safetensors", tmp_path / "other", root)
    assert folder.names == ["x.safetensors"]
    folder.copy("x.safetensors", tmp_path / "copy", 1 << 20)
    assert (tmp_path / "copy").read_bytes() == lora()


def test_a_folder_shows_its_files_and_those_below(root: Path) -> None:
    write(root / "peft", {**peft_folder(), "checkpoint-5/x.safetensors": lora()})
    assert sorted(opened(root / "peft", root).names) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "checkpoint-5/x.safetensors",
    ]


@pytest.mark.parametrize("trust", [Trust.CALLER, Trust.REGISTERED])
def test_without_roots_no_path_is_allowed(root: Path, trust: Trust) -> None:
    with pytest.raises(PathNotAllowed, match="LORAJOBS_LORA_ROOTS"):
        opened(root / "x.safetensors", trust=trust)


@pytest.mark.parametrize("trust", [Trust.CALLER, Trust.REGISTERED])
@pytest.mark.parametrize("path", ["../secret.safetensors", "../loras-private", "..", "../missing"])
def test_what_lies_outside_the_roots_is_not_allowed(
    root: Path, tmp_path: Path, path: str, trust: Trust
) -> None:
    write(tmp_path, {"secret.safetensors": lora(), "loras-private/x.safetensors": lora()})
    with pytest.raises(PathNotAllowed, match="LORAJOBS_LORA_ROOTS"):
        opened(root / path, root, trust=trust)


def test_a_symlink_does_not_lead_out(root: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", {"secret.safetensors": lora()})
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "file.safetensors").symlink_to(tmp_path / "outside" / "secret.safetensors")
    for path in ("link", "link/secret.safetensors", "file.safetensors"):
        with pytest.raises(PathNotAllowed):
            opened(root / path, root)
    folder = opened(root, root)
    with pytest.raises(PathNotAllowed):
        folder.copy("file.safetensors", tmp_path / "copy", 1 << 20)
    with pytest.raises(PathNotAllowed):
        folder.state("file.safetensors")


def test_a_root_may_be_a_symlink_and_links_inside_are_fine(root: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(root)
    (root / "latest.safetensors").symlink_to("x.safetensors")
    folder = opened(tmp_path / "root" / "latest.safetensors", tmp_path / "root")
    folder.copy(folder.names[0], tmp_path / "copy", 1 << 20)
    assert (tmp_path / "copy").read_bytes() == lora()


def test_the_operators_own_file_may_name_any_path(root: Path) -> None:
    assert opened(root / "x.safetensors", trust=Trust.CONFIGURED).names == ["x.safetensors"]


def test_a_missing_path_is_said(root: Path) -> None:
    with pytest.raises(LoraNotFound, match=r"y\.safetensors: there is no such"):
        opened(root / "y.safetensors", root)


def test_only_regular_files_are_read(root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "pipe.safetensors")
    folder = opened(root, root)
    with pytest.raises(LoraNotFound, match="not a regular file"):
        folder.copy("pipe.safetensors", tmp_path / "copy", 1 << 20)


def test_a_large_file_is_refused(root: Path, tmp_path: Path) -> None:
    folder = opened(root / "x.safetensors", root)
    with pytest.raises(LoraTooLarge, match="allowed are 100"):
        folder.copy("x.safetensors", tmp_path / "copy", 100)
    assert not (tmp_path / "copy").exists()


def test_the_state_changes_with_the_file(root: Path) -> None:
    path = root / "x.safetensors"
    folder = opened(path, root)
    before = folder.state("x.safetensors")
    assert folder.state("x.safetensors") == before
    times = path.stat()
    path.write_bytes(lora(2.0))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert folder.state("x.safetensors") != before
