"""A wrong file is refused at the submit, by its first bytes alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.adapters.sources import PROBE_BYTES
from lorajobs.catalog import Catalog
from lorajobs.errors import FieldError, LoraRefused
from lorajobs.plan import Plan, plan
from lorajobs.request import JobRequest
from lorajobs.settings import Settings
from lorajobs.storage.folder import FolderStore
from tests.lora_files import lora
from tests.services.hub import Hub, Repo, hub

REPO = "me/adapter"
#: One module that only Flux has, larger than what a probe reads.
FLUX = bytes(
    save(
        {
            "transformer.single_transformer_blocks.0.proj_out.lora_A.weight": np.ones(
                (32, 15360), np.float16
            ),
            "transformer.single_transformer_blocks.0.proj_out.lora_B.weight": np.ones(
                (3072, 32), np.float16
            ),
        }
    )
)


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def library(server: Hub, tmp_path: Path) -> tuple[Library, Catalog]:
    base = tmp_path / "base"
    (base / "unet").mkdir(parents=True)
    (base / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    (base / "unet" / "config.json").write_text('{"cross_attention_dim": 2048}')
    catalog = Catalog.model_validate({"models": {"sdxl": {"path": base}}})
    settings = Settings(data_dir=tmp_path / "data", hf_endpoint=server.url)
    objects = FolderStore(tmp_path / "objects", "https://api.example", 3600)
    return Library(settings, catalog, MemoryLoraRegistry(), objects), catalog


def planned(library: tuple[Library, Catalog], **fields: object) -> Plan:
    body = {"model": "sdxl", "prompt": "p", "loras": [{"path": f"hf:{REPO}"}], **fields}
    request = JobRequest.parse(json.dumps(body).encode())
    return plan(request, library[1], library[0], lambda url: None)


def publish(server: Hub, data: bytes) -> None:
    repo = Repo(card={"base_model": "sdxl"}, tags=("lora",))
    server.add(REPO, repo, {"x.safetensors": data})


def test_another_familys_file_is_refused_before_its_weights_are_read(
    server: Hub, library: tuple[Library, Catalog]
) -> None:
    publish(server, FLUX)
    assert len(FLUX) > PROBE_BYTES
    for _ in range(3):
        with pytest.raises(LoraRefused) as caught:
            planned(library)
        assert caught.value.code == "lora_wrong_family"
        assert "Flux.1" in caught.value.detail
        assert "SDXL" in caught.value.detail
        assert caught.value.errors == (FieldError("/loras/0", caught.value.detail),)
    # What was seen once is remembered.
    assert server.downloads() == 1


def test_it_may_be_skipped(server: Hub, library: tuple[Library, Catalog]) -> None:
    publish(server, FLUX)
    made = planned(library, on_lora_error="skip")
    assert made.spec.loras == ()
    (warning,) = made.warnings
    assert warning.code == "lora_skipped"
    assert warning.detail.endswith("(lora_wrong_family)")
    assert REPO in warning.detail


def test_a_file_that_is_none_is_refused(server: Hub, library: tuple[Library, Catalog]) -> None:
    publish(server, b"\x80\x04 a pickle under another name" + b"." * 99)
    with pytest.raises(LoraRefused) as caught:
        planned(library)
    assert caught.value.code == "lora_pickle"


def test_what_cannot_be_seen_is_no_refusal(server: Hub, library: tuple[Library, Catalog]) -> None:
    publish(server, FLUX)
    server.ranges = False
    assert len(planned(library).spec.loras) == 1


def test_a_fitting_one_is_taken(server: Hub, library: tuple[Library, Catalog]) -> None:
    publish(server, lora())
    assert len(planned(library).spec.loras) == 1
    assert planned(library).warnings == ()
