"""Adapters of lorajobs.toml."""

import pytest

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import LoraRecord
from lorajobs.catalog import Catalog
from lorajobs.errors import ConfigError, ValidationFailed
from lorajobs.settings import Settings
from lorajobs.storage.folder import FolderStore
from tests.integration.place import REPO, Place, entry, published, sha256
from tests.lora_files import DEMO_LORAS, fetched, lora


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
