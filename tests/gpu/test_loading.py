"""What a loaded base has on the GPU is what its files say, to the bit."""

from collections.abc import Mapping
from pathlib import Path

import diffusers
import pytest
import torch

from lorajobs.catalog import ModelEntry
from lorajobs.engine.garage import Garage
from lorajobs.engine.loading import models_of
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from tests.engine.tiny import FAMILIES, save

#: What a base was saved without must be said once more.
WITHOUT = {"sd3": {"text_encoder_3": None, "tokenizer_3": None}}
pytestmark = pytest.mark.gpu

SETTINGS = Settings(device="cuda", host_cache_mb=64, parked_mb=1024)


def tensors(pipe: diffusers.DiffusionPipeline) -> Mapping[str, torch.Tensor]:
    """All parameters and buffers, by component and path."""
    return {
        f"{name}.{path}": tensor.detach()
        for name, model in models_of(pipe).items()
        for path, tensor in [*model.named_parameters(), *model.named_buffers()]
    }


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
