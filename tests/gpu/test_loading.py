"""What a loaded base has on the GPU is what its files say, to the bit."""

from collections.abc import Mapping
from pathlib import Path

import diffusers
import pytest
import torch

from lorajobs.catalog import ModelEntry
from lorajobs.engine import ferry
from lorajobs.engine.garage import Garage
from lorajobs.engine.loading import models_of
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from tests.engine.tiny import FAMILIES, save

#: What a base was saved without must be said once more.
WITHOUT = {"sd3": {"text_encoder_3": None, "tokenizer_3": None}}
pytestmark = pytest.mark.gpu

SETTINGS = Settings(device="cuda", host_cache_mb=64, parked_mb=1024)


@pytest.fixture(params=[None, 10_000])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of these small bases in one load, or far more loads than boats."""
    if request.param:
        monkeypatch.setattr(ferry, "LOAD", request.param)


def tensors(pipe: diffusers.DiffusionPipeline) -> Mapping[str, torch.Tensor]:
    """All parameters and buffers, by component and path."""
    return {
        f"{name}.{path}": tensor.detach()
        for name, model in models_of(pipe).items()
        for path, tensor in [*model.named_parameters(), *model.named_buffers()]
    }


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("parked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", [*FAMILIES])
def test_every_tensor_is_the_files(family: str, dtype: str, parked: bool, tmp_path: Path) -> None:
    folder = save(family, tmp_path)
    entry = ModelEntry(id=family, path=folder, dtype=dtype)
    theirs = diffusers.DiffusionPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, **WITHOUT.get(family, {})
    )
    engine = DiffusersEngine(entry, SETTINGS, Garage(SETTINGS) if parked else None)
    engine.load()
    try:
        assert bool(engine.footprint()) is parked
        expected, found = tensors(theirs), tensors(engine._pipe)
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert tensor.device.type == "cuda", name
            assert torch.equal(tensor.cpu(), expected[name]), name
    finally:
        engine.close()


def test_a_copy_that_fails_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ferry, "LOAD", 1000)
    model = torch.nn.Linear(1000, 100)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def breaks(self: ferry.Boat, load: object) -> None:
        raise RuntimeError("lost")

    monkeypatch.setattr(ferry.Boat, "carry", breaks)
    with pytest.raises(RuntimeError, match="lost"):
        ferry.bring([model], torch.device("cuda"))
    for parameter, content in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, content)
