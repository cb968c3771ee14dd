"""Adapters that a caller refers to: pinned, kept, or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorajobs.adapters.library import Library
from lorajobs.addresses import LOOPBACK
from lorajobs.errors import (
    HubGated,
    LoraBaseMismatch,
    LoraInvalidFile,
    LoraJobsError,
    LoraPickle,
    LoraSeveralFiles,
    LoraTooLarge,
    PathNotAllowed,
    StorageUnavailable,
    UploadFailed,
    UrlNotAllowed,
    ValidationFailed,
)
from lorajobs.settings import Settings
from lorajobs.spec import Adapter
from lorajobs.storage.folder import FolderStore
from tests.integration.place import REPO, SDXL, Place, published, sha256
from tests.lora_files import PEFT_CONFIG, fetched, lora, peft_folder, write


def test_a_hub_reference_is_pinned_and_fetched_by_the_worker(place: Place) -> None:
    repo = published(place)
    adapter = place.resolve(f"hf:{REPO}")
    assert adapter == Adapter(
        id=f"hf:{REPO}",
        location=f"hf:{REPO}@{repo.main}/pixel.safetensors",
        revision=repo.main,
        sha256=sha256(lora()),
        bytes=len(lora()),
        weight_name="pixel.safetensors",
        base=SDXL,
        trusted=False,
    )
    assert (place.hub.downloads(), place.snapshots()) == (0, set())
    with place.library(machine="worker").ensure(adapter) as file:
        assert file.path.read_bytes() == lora()
        assert file.path.is_relative_to(place.folder / "worker" / "adapters")
    assert place.hub.tokens_seen() == {None}


def test_a_branch_that_moves_leaves_the_pinned_version(place: Place) -> None:
    repo = published(place, {"x.safetensors": lora(1.0)})
    old = place.resolve(f"hf:{REPO}")
    repo.commit({"x.safetensors": lora(2.0)})
    new = place.resolve(f"hf:{REPO}")
    assert old.sha256 != new.sha256
    worker = place.library(machine="worker")
    assert fetched(worker, new) == lora(2.0)
    assert fetched(worker, old) == lora(1.0)


def test_a_hub_file_outside_lfs_is_kept_as_a_snapshot(place: Place) -> None:
    published(place, lfs=())
    adapter = place.resolve(f"hf:{REPO}")
    digest = sha256(lora())
    assert adapter.location == f"blob:{digest}"
    assert adapter.revision == f"sha256:{digest}"
    assert place.snapshots() == {digest}
    del place.hub.repos[REPO]
    assert fetched(place.library(machine="worker"), adapter) == lora()


@pytest.mark.parametrize("base_model", [SDXL, [SDXL], ["other/base", SDXL.upper()], "sdxl", "xl"])
def test_a_card_may_name_the_base_in_several_ways(place: Place, base_model: object) -> None:
    published(place, card={"base_model": base_model})
    assert place.resolve(f"hf:{REPO}").sha256 == sha256(lora())


@pytest.mark.parametrize(
    ("card", "tags", "says"),
    [
        ({}, ("lora",), "names no `base_model`"),
        ({"base_model": "runwayml/sd15"}, ("lora",), "names the base_model runwayml/sd15"),
        ({"base_model": ["a/b", "c/d"]}, ("lora",), "names the base_model a/b, c/d"),
        # A duplicate of the whole model carries its base's name, too.
        ({"base_model": SDXL}, (f"base_model:finetune:{SDXL}",), "no tag `lora`"),
        ({"base_model": SDXL}, (f"base_model:quantized:{SDXL}", f"base_model:{SDXL}"), "no tag"),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    place: Place, card: dict[str, object], tags: tuple[str, ...], says: str
) -> None:
    published(place, card=card, tags=tags)
    with pytest.raises(LoraBaseMismatch, match=says):
        place.resolve(f"hf:{REPO}")


def test_the_base_is_judged_before_the_files(place: Place) -> None:
    published(place, {"a.safetensors": lora(), "b.safetensors": lora(2.0)}, tags=())
    with pytest.raises(LoraBaseMismatch):
        place.resolve(f"hf:{REPO}")


def test_one_of_several_files_is_named(place: Place) -> None:
    published(place, {"a.safetensors": lora(1.0), "b.safetensors": lora(2.0)})
    with pytest.raises(LoraSeveralFiles, match=r"a\.safetensors, b\.safetensors"):
        place.resolve(f"hf:{REPO}")
    adapter = place.resolve(f"hf:{REPO}", "b.safetensors")
    assert (adapter.weight_name, adapter.sha256) == ("b.safetensors", sha256(lora(2.0)))


def test_a_pickle_is_refused_by_name_and_by_content(place: Place) -> None:
    published(place, {"x.bin": b"\x80\x02}q\x00."})
    with pytest.raises(LoraPickle):
        place.resolve(f"hf:{REPO}")
    url = place.files.file("/x.safetensors", b"\x80\x02}q\x00." + b"." * 40)
    with pytest.raises(LoraPickle):
        place.resolve(url)
    assert place.snapshots() == set()


@pytest.mark.parametrize("hidden", [{"gated": True}, {"private": True}])
def test_the_operators_token_does_not_serve_a_caller(place: Place, hidden: dict[str, Any]) -> None:
    published(place, **hidden)
    with pytest.raises(HubGated):
        place.resolve(f"hf:{REPO}")
    assert place.hub.tokens_seen() == {None}


def test_a_peft_folder_brings_its_config(place: Place) -> None:
    published(place, peft_folder(base_model_name_or_path="named/by-peft"))
    adapter = place.resolve(f"hf:{REPO}")
    assert adapter.peft_config == PEFT_CONFIG | {"base_model_name_or_path": "named/by-peft"}
    assert adapter.base == SDXL
    write(place.loras / "peft", peft_folder(base_model_name_or_path="named/by-peft"))
    local = place.resolve(place.loras / "peft")
    assert (local.peft_config, local.base) == (adapter.peft_config, "named/by-peft")
    assert local.sha256 == adapter.sha256


@pytest.mark.parametrize(
    ("config", "says"),
    [(b"{", "not JSON"), (b"[1]", "not a JSON object"), (b" " * 65_537, "allowed are 65536")],
)
def test_a_bad_peft_config_is_refused(place: Place, config: bytes, says: str) -> None:
    folder = write(place.loras / "peft", peft_folder() | {"adapter_config.json": config})
    with pytest.raises(LoraInvalidFile, match=says):
        place.resolve(folder)


def test_a_url_is_downloaded_once_and_kept(place: Place) -> None:
    url = place.files.file("/x.safetensors", lora(1.0))
    old = place.resolve(url)
    assert (old.id, old.location) == (url, f"blob:{sha256(lora(1.0))}")
    place.files.file("/x.safetensors", lora(2.0))
    new = place.resolve(url)
    asked = len(place.files.asked)
    worker = place.library(machine="worker")
    assert fetched(worker, old) == lora(1.0)
    assert fetched(worker, new) == lora(2.0)
    assert len(place.files.asked) == asked


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"<html>Log in</html>", LoraInvalidFile),
        (lora()[:-1], LoraInvalidFile),
        (lora(padding=5000), LoraTooLarge),
    ],
)
def test_bytes_that_are_no_adapter_are_not_kept(
    place: Place, data: bytes, error: type[LoraJobsError]
) -> None:
    url = place.files.file("/x.safetensors", data)
    with pytest.raises(error):
        place.resolve(url, lora_max_bytes=4096)
    assert place.snapshots() == set()


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("ftp://host/x", UrlNotAllowed),
        ("https://127.0.0.1/x.safetensors", UrlNotAllowed),
        ("s3://bucket/x.safetensors", UrlNotAllowed),
        ("/etc/passwd", PathNotAllowed),
        ("pixel", ValidationFailed),
    ],
)
def test_what_a_caller_may_not_reach(
    place: Place, reference: str, error: type[LoraJobsError]
) -> None:
    with pytest.raises(error):
        place.resolve(reference, fetch_private=(), lora_roots=())


def test_a_path_below_a_root_is_kept_as_a_snapshot(place: Place) -> None:
    path = write(place.loras, {"x.safetensors": lora(1.0)}) / "x.safetensors"
    adapter = place.resolve(path)
    path.write_bytes(lora(2.0))
    assert fetched(place.library(machine="worker"), adapter) == lora(1.0)


def test_a_path_is_read_again_only_after_it_changed(place: Place) -> None:
    path = write(place.loras, {"x.safetensors": lora(1.0)}) / "x.safetensors"
    library = place.library()
    first = library.resolve(str(path), place.sdxl, None)
    snapshot = place.folder / "objects" / "adapters" / f"{first.sha256}.safetensors"
    stored = snapshot.stat()
    assert library.resolve(str(path), place.sdxl, None) == first
    assert snapshot.stat() == stored
    path.write_bytes(lora(2.0))
    second = library.resolve(str(path), place.sdxl, None)
    assert fetched(library, second) == lora(2.0)
    with pytest.raises(PathNotAllowed):
        place.library(lora_roots=()).resolve(str(path), place.sdxl, None)


def test_a_store_that_is_down_refuses_the_reference(place: Place) -> None:
    class Down(FolderStore):
        def keep(self, path: Path, key_of: Callable[[str], str]) -> str:
            raise UploadFailed("no space left")

    objects = Down(place.folder / "objects", "http://127.0.0.1", 60)
    settings = Settings(data_dir=place.folder / "api", lora_roots=(place.loras,))
    library = Library(settings, place.catalog(), place.registry, objects)
    write(place.loras, {"x.safetensors": lora()})
    with pytest.raises(StorageUnavailable, match="no space left"):
        library.resolve(str(place.loras), place.sdxl, None)


def test_the_signature_of_a_url_is_not_repeated(place: Place) -> None:
    for reference in ("https://127.0.0.1/x?sig=secret", f"{place.files.url}/x?sig=secret"):
        for private in (True, False):
            with pytest.raises(LoraJobsError) as error:
                place.resolve(reference, fetch_private=LOOPBACK if private else ())
            assert "secret" not in error.value.detail
