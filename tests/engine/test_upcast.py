"""SDXL's own VAE decodes in single precision; its weights stay where and what they are."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import AutoencoderKL

from lorajobs.catalog import ModelEntry
from lorajobs.engine.garage import Garage
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import OutOfMemory
from lorajobs.settings import Settings
from tests.engine.tiny import save
from tests.jobs import a_spec

# diffusers' own pipeline calls it.
pytestmark = pytest.mark.filterwarnings("ignore:`upcast_vae`:FutureWarning")

SPEC = a_spec(width=64, height=64, num_inference_steps=1)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiffusersEngine]:
    """A base in half precision that can be parked."""
    folder = tmp_path_factory.mktemp("upcast")
    vae = AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        force_upcast=True,
    )
    vae.save_pretrained(folder / "vae")
    told = {"id": "half", "path": save("sdxl", folder / "sdxl"), "dtype": "float16"}
    entry = ModelEntry.model_validate(told | {"vae": {"path": folder / "vae"}})
    settings = Settings(device="cpu")
    engine = DiffusersEngine(entry, settings, Garage(settings))
    engine.load()
    yield engine
    engine.close()


def places(engine: DiffusersEngine) -> list[tuple[torch.dtype, int]]:
    return [(weight.dtype, weight.data_ptr()) for weight in engine._pipe.vae.parameters()]


def picture(engine: DiffusersEngine) -> bytes:
    return engine.generate(SPEC, lambda step: None).pictures[0].image.tobytes()


def test_a_decode_moves_no_weight(half: DiffusersEngine) -> None:
    before, seen = places(half), list[torch.dtype]()
    hook = half._pipe.vae.decoder.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].dtype)
    )
    first = picture(half)
    hook.remove()
    assert seen == [torch.float32]
    assert places(half) == before
    half.park(free=True)
    half.unpark()
    assert picture(half) == first


def test_after_a_decode_without_memory_the_next_one_works(half: DiffusersEngine) -> None:
    expected, before = picture(half), places(half)

    def short(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = half._pipe.vae.decoder.register_forward_pre_hook(short)
    try:
        with pytest.raises(OutOfMemory):
            picture(half)
    finally:
        hook.remove()
    assert places(half) == before
    assert picture(half) == expected
