"""Adapters with trained tokens on their way through a worker: both files, and another group."""

from pathlib import Path

from lorajobs.catalog import LoraEntry
from lorajobs.groups import group_of
from lorajobs.jobs import JobStatus
from lorajobs.spec import AdapterUse
from tests.jobs import a_job, a_spec
from tests.lora_files import lora, tokens, write
from tests.shop import Shop
from tests.unit.test_fetcher import Desk


def pinned(shop: Shop, folder: Path) -> AdapterUse:
    """What lies in a folder, registered and at scale 1."""
    entry = LoraEntry(id=folder.name, source=str(folder), base="demo")
    record = shop.library.register(entry)
    return AdapterUse(adapter=shop.library.pin(record), scale=1.0)


def test_an_attempt_holds_both_files_and_reports_the_tokens(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", lora_roots=(tmp_path,))
    files = {"it.safetensors": lora()}
    plain = pinned(shop, write(tmp_path / "plain", files))
    spoken = pinned(shop, write(tmp_path / "spoken", files | {"it_emb.safetensors": tokens()}))
    assert plain.adapter.sha256 == spoken.adapter.sha256
    pictures = []
    for index, use in enumerate((plain, spoken, spoken)):
        job = a_job(loras=(use,))
        shop.run(job, f"t{index}")
        ended = shop.store.get(job.id)
        assert ended.status is JobStatus.SUCCEEDED
        (applied,) = ended.applied_loras
        assert applied.tokens == (("<s0>", "<s1>") if use is spoken else ())
        assert group_of([(applied.key, applied.scale)]) == a_spec(loras=(use,)).group
        assert ended.metrics.swapped == (index < 2)
        pictures.append(ended.pictures[0].sha256)
    assert pictures[0] != pictures[1] == pictures[2]


def test_the_fetcher_brings_both_files(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", lora_roots=(tmp_path,))
    files = {"it.safetensors": lora(), "it_emb.safetensors": tokens()}
    use = pinned(shop, write(tmp_path / "spoken", files))
    desk = Desk()
    job = a_job(loras=(use,))
    desk.store.submit(job, None)
    desk.fetcher.look()
    desk.settled(job)
    assert desk.shelf.here == {file.sha256 for file in use.adapter.files}
    assert len(desk.shelf.here) == 2
