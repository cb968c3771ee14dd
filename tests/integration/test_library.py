import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import LoraRecord, MemoryLoraRegistry
from lorajobs.addresses import LOOPBACK
from lorajobs.api_keys import Caller
from lorajobs.catalog import Catalog, LoraEntry, ModelEntry
from lorajobs.errors import (
    ConfigError,
    HubGated,
    LoraBaseMismatch,
    LoraFetchFailed,
    LoraInvalidFile,
    LoraJobsError,
    LoraNotFound,
    LoraPickle,
    LoraSeveralFiles,
    LoraTooLarge,
    PathNotAllowed,
    StorageUnavailable,
    UnknownModel,
    UploadFailed,
    UrlNotAllowed,
    ValidationFailed,
)
from lorajobs.settings import Settings
from lorajobs.spec import Adapter
from lorajobs.storage.folder import FolderStore
from tests.lora_files import DEMO_LORAS, PEFT_CONFIG, fetched, lora, peft_folder, write
from tests.services.files import FileServer, file_server
from tests.services.hub import Hub, Repo, hub

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
REPO = "nerijs/pixel-art-xl"
CARD = {"base_model": SDXL, "instance_prompt": "pixel art", "license": "openrail++"}
TOKEN = "hf_operator"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Place:
    """One installation: a library, and what it stands on."""

    folder: Path
    hub: Hub
    files: FileServer
    registry: MemoryLoraRegistry
    loras: Path

    def catalog(self, *loras: LoraEntry) -> Catalog:
        models = {
            "sdxl": {"repo": SDXL, "aliases": ("xl",)},
            "sd15": {"path": "sd15", "accepts": ("runwayml/sd15", "family")},
            "mini": {"path": "mini", "accepts": ("family",)},
        }
        entries = {entry.id: entry.model_dump(exclude={"id"}) for entry in loras}
        return Catalog.model_validate({"models": models, "loras": entries})

    def library(self, *loras: LoraEntry, machine: str = "api", **settings: Any) -> Library:
        """A process on one machine; its object store and registry are everybody's."""
        values = {
            "data_dir": self.folder / machine,
            "lora_roots": (self.loras,),
            "hf_endpoint": self.hub.url,
            "hf_token": SecretStr(TOKEN),
            "fetch_private": LOOPBACK,
            **settings,
        }
        objects = FolderStore(self.folder / "objects", "http://127.0.0.1", 60)
        return Library(
            Settings.model_validate(values), self.catalog(*loras), self.registry, objects
        )

    @property
    def sdxl(self) -> ModelEntry:
        return self.catalog().models["sdxl"]

    def resolve(
        self, reference: object, weight_name: str | None = None, **settings: Any
    ) -> Adapter:
        return self.library(**settings).resolve(str(reference), self.sdxl, weight_name)

    def snapshots(self) -> set[str]:
        folder = self.folder / "objects" / "adapters"
        return {path.stem for path in folder.glob("*")} if folder.exists() else set()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    loras = tmp_path / "loras"
    loras.mkdir()
    with hub() as a_hub, file_server() as files:
        a_hub.tokens.add(TOKEN)
        yield Place(tmp_path, a_hub, files, MemoryLoraRegistry(), loras)


def published(place: Place, files: dict[str, bytes] | None = None, **fields: Any) -> Repo:
    repo = Repo(**{"card": CARD, "tags": ("lora",), **fields})
    return place.hub.add(REPO, repo, files or {"pixel.safetensors": lora()})


# A caller's reference


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


# What a worker meets


def test_a_second_process_of_the_machine_downloads_nothing(place: Place) -> None:
    published(place)
    adapter = place.resolve(f"hf:{REPO}")
    with (
        place.library(machine="worker").ensure(adapter) as first,
        place.library(machine="worker").ensure(adapter) as second,
    ):
        assert first.path == second.path
        assert (first.tier, second.tier) == ("remote", "disk")
    assert place.hub.downloads() == 1


def test_a_source_that_sends_other_bytes_is_found_out(place: Place) -> None:
    published(place)
    adapter = place.resolve(f"hf:{REPO}")
    place.hub.corrupted[adapter.sha256] = lora(9.0)
    worker = place.library(machine="worker")
    with pytest.raises(LoraFetchFailed, match="other bytes than the pinned") as error:
        worker.ensure(adapter)
    assert error.value.retryable
    place.hub.corrupted.clear()
    assert fetched(worker, adapter) == lora()


def test_a_file_that_only_claims_to_be_safetensors_is_found_out(place: Place) -> None:
    published(place, {"x.safetensors": b"<html>" * 99})
    with pytest.raises(LoraInvalidFile, match="web page") as error:
        place.library(machine="worker").ensure(place.resolve(f"hf:{REPO}"))
    assert not error.value.retryable


def test_a_lost_snapshot_is_said(place: Place) -> None:
    adapter = place.resolve(write(place.loras, {"x.safetensors": lora()}))
    (place.folder / "objects" / "adapters" / f"{adapter.sha256}.safetensors").unlink()
    with pytest.raises(LoraNotFound, match="register it again"):
        place.library(machine="worker").ensure(adapter)


def test_a_disk_that_cannot_be_written_is_said(place: Place) -> None:
    published(place)
    adapter = place.resolve(f"hf:{REPO}")
    (place.folder / "worker").write_text("a file where the cache belongs")
    with pytest.raises(LoraFetchFailed, match="Not a directory"):
        place.library(machine="worker").ensure(adapter)


def test_a_store_that_is_down_refuses_the_reference(place: Place) -> None:
    class Down(FolderStore):
        def put(self, key: str, data: bytes | Path, content_type: str) -> None:
            raise UploadFailed("no space left")

    objects = Down(place.folder / "objects", "http://127.0.0.1", 60)
    settings = Settings(data_dir=place.folder / "api", lora_roots=(place.loras,))
    library = Library(settings, place.catalog(), place.registry, objects)
    write(place.loras, {"x.safetensors": lora()})
    with pytest.raises(StorageUnavailable, match="no space left"):
        library.resolve(str(place.loras), place.sdxl, None)


# Registrations


def entry(**fields: object) -> LoraEntry:
    return LoraEntry.model_validate({"id": "pixel", "source": f"hf:{REPO}", **fields})


def test_a_registration_is_pinned_at_once_and_seen_by_all(place: Place) -> None:
    published(place)
    record = place.library().register(entry(base="xl", scale=0.9))
    assert (record.id, record.base, record.scale) == ("pixel", "sdxl", 0.9)
    assert (record.trigger_words, record.license) == (("pixel art",), "openrail++")
    assert not record.configured
    assert record.created_ms is not None
    assert record.adapter is not None
    assert (record.adapter.id, record.adapter.trusted) == ("pixel", True)
    other = place.library(machine="worker")
    assert other.find("pixel") == record
    assert other.records() == [record]
    assert other.pin(record) == record.adapter
    assert place.library().find("pixle") is None


def test_what_the_registration_says_counts_more_than_the_card(place: Place) -> None:
    published(place)
    record = place.library().register(entry(base="sdxl", trigger_words=("px",), license="mit"))
    assert (record.trigger_words, record.license) == (("px",), "mit")


def test_a_private_repository_can_be_registered_and_fetched(place: Place) -> None:
    published(place, private=True, gated=True)
    record = place.library().register(entry(base="sdxl"))
    assert record.adapter is not None
    assert fetched(place.library(machine="worker"), record.adapter) == lora()


def test_a_key_that_is_no_admins_reaches_nothing_by_the_operators_token(place: Place) -> None:
    published(place, private=True, gated=True)
    with pytest.raises(HubGated):
        place.library().register(entry(base="sdxl"), Caller("anna"))
    published(place)
    record = place.library().register(entry(base="sdxl"), Caller("anna"))
    assert record.adapter is not None
    assert (record.adapter.registered, record.adapter.trusted) == (True, False)
    assert fetched(place.library(machine="worker"), record.adapter) == lora()


def test_a_base_given_explicitly_needs_no_card(place: Place) -> None:
    published(place, card={"base_model": "somebody/else"}, tags=())
    record = place.library().register(entry(base="sdxl"))
    assert record.base == "sdxl"
    assert record.adapter is not None
    assert record.adapter.base == "somebody/else"


def test_without_a_base_the_card_must_name_a_configured_one(place: Place) -> None:
    published(place)
    assert place.library().register(entry()).base == "sdxl"
    published(place, card={"base_model": "runwayml/sd15"})
    assert place.library().register(entry()).base == "sd15"
    for card, tags in [({"base_model": "x/y"}, ("lora",)), (CARD, ()), ({}, ("lora",))]:
        published(place, card=card, tags=tags)
        with pytest.raises(LoraBaseMismatch):
            place.library().register(entry())
    published(place, card={"base_model": "family"})
    with pytest.raises(LoraBaseMismatch, match="sd15, mini"):
        place.library().register(entry())


def test_only_a_hub_repository_can_go_without_a_base(place: Place) -> None:
    url = place.files.file("/x.safetensors", lora())
    with pytest.raises(ValidationFailed) as error:
        place.library().register(entry(source=url))
    assert [e.pointer for e in error.value.errors] == ["/base"]
    assert place.files.asked == []
    assert place.library().register(entry(source=url, base="sdxl")).source == url


def test_an_unknown_base_is_refused(place: Place) -> None:
    with pytest.raises(UnknownModel, match="did you mean sdxl") as error:
        place.library().register(entry(base="sdx"))
    assert [e.pointer for e in error.value.errors] == ["/base"]


def test_the_same_id_again_is_a_new_version(place: Place) -> None:
    repo = published(place, {"x.safetensors": lora(1.0)})
    old = place.library().register(entry()).adapter
    repo.commit({"x.safetensors": lora(2.0)})
    kept = place.library().find("pixel")
    assert kept is not None
    assert place.library().pin(kept) == old
    new = place.library().register(entry()).adapter
    assert old is not None
    assert new is not None
    assert old.sha256 != new.sha256
    assert place.library().records() == [place.library().find("pixel")]
    assert fetched(place.library(machine="worker"), old) == lora(1.0)


def test_a_waiting_job_keeps_a_version_whose_registration_and_source_are_gone(
    place: Place,
) -> None:
    path = write(place.loras, {"x.safetensors": lora()}) / "x.safetensors"
    record = place.library().register(entry(source=str(path), base="sdxl"))
    assert place.library().remove("pixel")
    path.unlink()
    assert place.library().find("pixel") is None
    assert not place.library().remove("pixel")
    assert record.adapter is not None
    assert fetched(place.library(machine="worker"), record.adapter) == lora()


def test_a_registration_reaches_only_what_the_settings_allow(place: Place) -> None:
    outside = write(place.folder / "outside", {"x.safetensors": lora()})
    with pytest.raises(PathNotAllowed):
        place.library().register(entry(source=str(outside), base="sdxl"))
    with pytest.raises(UrlNotAllowed):
        place.library().register(entry(source="s3://bucket/x.safetensors", base="sdxl"))


@pytest.mark.parametrize("taken", ["pixel", "sdxl", "xl"])
def test_names_of_the_file_cannot_be_taken(place: Place, taken: str) -> None:
    published(place)
    library = place.library(entry(base="sdxl"))
    with pytest.raises(ValidationFailed) as error:
        library.register(entry(id=taken))
    assert [e.pointer for e in error.value.errors] == ["/id"]


def test_a_changed_file_on_the_server_is_a_new_version(place: Place) -> None:
    path = write(place.loras, {"x.safetensors": lora(1.0)}) / "x.safetensors"
    library = place.library()
    record = library.register(entry(source=str(path), base="sdxl"))
    old = library.pin(record)
    path.write_bytes(lora(2.0))
    new = library.pin(record)
    assert (old.sha256, new.sha256) == (sha256(lora(1.0)), sha256(lora(2.0)))
    found = library.find("pixel")
    assert found is not None
    assert found.adapter == new
    assert (found.base, found.created_ms) == ("sdxl", record.created_ms)
    worker = place.library(machine="worker")
    assert fetched(worker, new) == lora(2.0)
    assert fetched(worker, old) == lora(1.0)


def test_an_unchanged_file_is_not_read_again(place: Place) -> None:
    path = write(place.loras, {"x.safetensors": lora()}) / "x.safetensors"
    library = place.library()
    record = library.register(entry(source=str(path), base="sdxl"))
    (place.folder / "objects" / "adapters" / f"{sha256(lora())}.safetensors").unlink()
    assert library.pin(record) == record.adapter
    assert place.snapshots() == set()  # reading it would have kept a snapshot


def test_a_changed_peft_config_is_a_new_version(place: Place) -> None:
    folder = write(place.loras / "peft", peft_folder())
    library = place.library()
    record = library.register(entry(source=str(folder), base="sdxl"))
    changed = json.dumps(PEFT_CONFIG | {"lora_alpha": 64})
    (folder / "adapter_config.json").write_text(changed)
    assert (library.pin(record).peft_config or {})["lora_alpha"] == 64


def test_pinning_does_not_undo_a_removal(place: Place) -> None:
    path = write(place.loras, {"x.safetensors": lora(1.0)}) / "x.safetensors"
    library = place.library()
    record = library.register(entry(source=str(path), base="sdxl"))
    library.remove("pixel")
    path.write_bytes(lora(2.0))
    assert library.pin(record).sha256 == sha256(lora(2.0))
    assert library.find("pixel") is None


def test_who_names_an_id_does_not_learn_where_it_lies(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(place.loras, {"x.safetensors": lora()}) / "x.safetensors"
    library = place.library()
    record = library.register(entry(source=str(path), base="sdxl"))
    for spoil in (lambda: path.write_bytes(b"<html>"), path.unlink):
        spoil()
        with pytest.raises((LoraInvalidFile, LoraNotFound)) as error:
            library.pin(record)
        assert error.value.detail.startswith("adapter pixel")
        assert str(place.loras) not in error.value.detail
        assert str(path) in caplog.text
        caplog.clear()


def test_the_signature_of_a_url_is_not_repeated(place: Place) -> None:
    for reference in ("https://127.0.0.1/x?sig=secret", f"{place.files.url}/x?sig=secret"):
        for private in (True, False):
            with pytest.raises(LoraJobsError) as error:
                place.resolve(reference, fetch_private=LOOPBACK if private else ())
            assert "secret" not in error.value.detail


# Adapters of lorajobs.toml


def test_a_configured_adapter_is_pinned_at_first_use(place: Place) -> None:
    published(place)
    configured = entry(base="sdxl", scale=0.8)
    record = place.library(configured).find("pixel")
    assert record == LoraRecord(
        id="pixel", source=f"hf:{REPO}", base="sdxl", scale=0.8, configured=True
    )
    assert place.hub.requests == []
    adapter = place.library(configured).pin(record)
    assert adapter.trusted
    asked = len(place.hub.requests)
    seen = place.library(configured, machine="worker").find("pixel")
    assert seen is not None
    assert (seen.adapter, seen.trigger_words, seen.license) == (
        adapter,
        ("pixel art",),
        "openrail++",
    )
    assert place.library(configured).pin(seen) == adapter
    assert len(place.hub.requests) == asked


def test_a_changed_entry_is_pinned_anew(place: Place) -> None:
    repo = published(place, {"x.safetensors": lora(1.0)})
    first = entry(base="sdxl", source=f"hf:{REPO}@{repo.main}")
    record = place.library(first).find("pixel")
    assert record is not None
    place.library(first).pin(record)
    second = entry(base="sdxl", source=f"hf:{REPO}@{repo.commit({'x.safetensors': lora(2.0)})}")
    changed = place.library(second).find("pixel")
    assert changed is not None
    assert changed.adapter is None
    assert place.library(second).pin(changed).sha256 == sha256(lora(2.0))


def test_a_configured_adapter_cannot_be_removed(place: Place) -> None:
    with pytest.raises(ValidationFailed, match=r"lorajobs\.toml"):
        place.library(entry(base="sdxl")).remove("pixel")


def test_what_left_the_file_is_no_adapter_any_more(place: Place) -> None:
    published(place)
    configured = place.library(entry(base="sdxl"))
    record = configured.find("pixel")
    assert record is not None
    configured.pin(record)
    assert place.library().find("pixel") is None
    assert place.library().records() == []
    assert place.library().register(entry()).configured is False
    assert [r.configured for r in place.library().records()] == [False]
    assert [r.configured for r in configured.records()] == [True]


def test_the_operators_file_may_name_any_path(place: Place) -> None:
    demo = DEMO_LORAS / "pixel.safetensors"
    library = place.library(entry(source=str(demo), base="sdxl"), lora_roots=())
    record = library.find("pixel")
    assert record is not None
    adapter = library.pin(record)
    assert adapter.sha256 == sha256(demo.read_bytes())
    worker = place.library(machine="worker", lora_roots=())
    assert fetched(worker, adapter) == demo.read_bytes()


def test_the_bundled_demo_can_be_pinned(place: Place) -> None:
    settings = Settings(data_dir=place.folder / "demo")
    objects = FolderStore(place.folder / "objects", "http://127.0.0.1", 60)
    library = Library(settings, Catalog.load(None), place.registry, objects)
    pinned = {record.id: library.pin(record) for record in library.records()}
    assert set(pinned) == {"lineart", "pixel", "soft3d"}
    assert {a.sha256 for a in pinned.values()} == place.snapshots()


def test_a_source_that_is_no_reference_stops_the_start(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"loras\.pixel\.source: .*did you mean"):
        place.library(entry(source=REPO, base="sdxl"))
