"""Adapters with trained tokens beside them: pinned, held and told apart with their tokens."""

import json
from pathlib import Path

import pytest

from lorajobs.catalog import Catalog, LoraEntry, ModelEntry
from lorajobs.errors import LoraFetchFailed, LoraJobsError, LoraPickle, LoraTooLarge
from lorajobs.lora_errors import LoraTokenClash, LoraUnsupported
from lorajobs.plan import Plan, plan
from lorajobs.request import JobRequest
from lorajobs.spec import Adapter, JobSpec
from tests.integration.place import REPO, Place, entry, published, sha256
from tests.jobs import a_spec
from tests.lora_files import lora, tokens, write

FILES = {"lora.safetensors": lora(), "embeddings.safetensors": tokens()}
CARD = {"base_model": "stabilityai/stable-diffusion-xl-base-1.0", "instance_prompt": "<cat0><cat1>"}


def test_both_files_of_a_repository_are_pinned_and_held(place: Place) -> None:
    repo = published(place, FILES)
    old = place.resolve(f"hf:{REPO}")
    assert old.weight_name == "lora.safetensors"
    assert old.embeddings is not None
    assert old.embeddings.tokens == ("<s0>", "<s1>")
    assert old.embeddings.location == f"hf:{REPO}@{repo.main}/embeddings.safetensors"
    repo.commit(FILES | {"embeddings.safetensors": tokens(fill=2.0)})
    new = place.resolve(f"hf:{REPO}")
    assert new.sha256 == old.sha256
    assert group(new) != group(old)
    worker = place.library(machine="worker")
    for adapter, fill in ((old, 1.0), (new, 2.0)):
        held = []
        for file in adapter.files:
            with worker.ensure(file) as found:
                held.append(found.path.read_bytes())
        assert held == [lora(), tokens(fill=fill)]


def group(adapter: Adapter) -> str:
    spec: JobSpec = a_spec(loras=({"adapter": adapter, "scale": 1.0},))
    return spec.group


def test_the_card_names_the_tokens(place: Place) -> None:
    published(place, FILES, card=CARD)
    adapter = place.resolve(f"hf:{REPO}")
    assert adapter.embeddings is not None
    assert adapter.embeddings.tokens == ("<cat0>", "<cat1>")


def test_a_registration_tells_them_and_sees_a_change_on_the_server(place: Place) -> None:
    folder = write(place.loras / "it", FILES)
    library = place.library()
    record = library.register(entry(source=str(folder), base="sdxl"))
    assert record.trigger_words == ("<s0><s1>",)
    (folder / "embeddings.safetensors").write_bytes(tokens(3))
    changed = library.pin(record)
    assert changed.embeddings is not None
    assert changed.embeddings.tokens == ("<s0>", "<s1>", "<s2>")
    assert changed.embeddings.location == f"blob:{sha256(tokens(3))}"


def test_a_path_to_a_file_takes_what_lies_beside_it(place: Place) -> None:
    files = {"a.safetensors": lora(), "b.safetensors": lora(2.0), "b_emb.safetensors": tokens()}
    folder = write(place.loras, files)
    assert place.resolve(folder / "a.safetensors").embeddings is None
    with_tokens = place.resolve(folder / "b.safetensors")
    assert with_tokens.embeddings is not None
    assert with_tokens.embeddings.weight_name == "b_emb.safetensors"
    (folder / "embeddings.pt").write_bytes(b"any")
    with pytest.raises(LoraPickle):
        place.resolve(folder / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "data", "error", "says"),
    [
        (
            "embeddings.safetensors",
            lora(2.0),
            LoraUnsupported,
            "embeddings.safetensors should hold",
        ),
        ("embeddings.safetensors", tokens(76), LoraUnsupported, "allowed are 1 to 75"),
        ("embeddings.safetensors", lora(padding=17 << 20), LoraTooLarge, "allowed are 16777216"),
        ("embeddings.pt", b"any", LoraPickle, "embeddings.pt, a pickle"),
    ],
)
def test_what_cannot_be_taken_is_never_left_out(
    place: Place, name: str, data: bytes, error: type[LoraJobsError], says: str
) -> None:
    published(place, {"lora.safetensors": lora(), name: data})
    for weight_name in (None, "lora.safetensors"):
        with pytest.raises(error, match=says):
            place.resolve(f"hf:{REPO}", weight_name)


def test_other_bytes_than_the_pinned_ones_are_refused(place: Place) -> None:
    published(place, FILES)
    adapter = place.resolve(f"hf:{REPO}")
    assert adapter.embeddings is not None
    place.hub.corrupted[adapter.embeddings.sha256] = tokens(fill=3.0)
    with pytest.raises(LoraFetchFailed, match="other bytes than the pinned ones"):
        place.library(machine="worker").ensure(adapter.embeddings)


def planned(place: Place, *ids: str, **fields: object) -> Plan:
    entries = [
        LoraEntry(id=name, source=str(place.loras / name), base="sdxl") for name in ("a", "b", "c")
    ]
    asked = {"model": "sdxl", "prompt": "a heart", "loras": [{"id": i} for i in ids], **fields}
    request = JobRequest.parse(json.dumps(asked).encode())
    catalog: Catalog = place.catalog(*entries)
    base: ModelEntry = catalog.models["sdxl"]
    assert base.id == "sdxl"
    return plan(request, catalog, place.library(*entries), lambda url: None)


def test_two_that_call_their_tokens_the_same_are_refused_or_skipped(place: Place) -> None:
    for fill, name in enumerate("ab"):
        files = {"lora.safetensors": lora(fill), "embeddings.safetensors": tokens(fill=fill)}
        write(place.loras / name, files)
    write(place.loras / "c", {"lora.safetensors": lora(7.0)})
    assert len(planned(place, "a", "c").spec.loras) == 2
    with pytest.raises(LoraTokenClash) as caught:
        planned(place, "a", "c", "b")
    assert [e.pointer for e in caught.value.errors] == ["/loras/2"]
    made = planned(place, "a", "c", "b", on_lora_error="skip")
    assert [use.adapter.id for use in made.spec.loras] == ["a", "c"]
    assert made.warnings[-1].code == "lora_skipped"
    assert made.warnings[-1].detail.endswith("(lora_token_clash)")


def test_records_of_before_are_still_read(tmp_path: Path) -> None:
    old = {
        "id": "pixel",
        "location": "blob:" + "0" * 64,
        "revision": "r",
        "sha256": "0" * 64,
        "bytes": 1,
        "weight_name": "pixel.safetensors",
        "peft_config": None,
        "base": None,
        "trusted": True,
    }
    adapter = Adapter.model_validate_json(json.dumps(old))
    assert (adapter.embeddings, adapter.files, adapter.key) == (None, (adapter,), "0" * 64)
