"""Adapters under an id: registered, pinned anew, and removed."""

import json

import pytest

from lorajobs.api_keys import Caller
from lorajobs.errors import (
    HubGated,
    LoraBaseMismatch,
    LoraInvalidFile,
    LoraNotFound,
    PathNotAllowed,
    UnknownModel,
    UrlNotAllowed,
    ValidationFailed,
)
from tests.integration.place import CARD, Place, entry, published, sha256
from tests.lora_files import PEFT_CONFIG, fetched, lora, peft_folder, write


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
