"""What a worker meets when it fetches an adapter."""

import pytest

from lorajobs.errors import LoraFetchFailed, LoraInvalidFile, LoraNotFound
from tests.integration.place import REPO, Place, published
from tests.lora_files import fetched, lora, write


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
