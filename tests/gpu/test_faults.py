"""What a GPU does wrong: short of memory, broken, and pictures that a checker on it flags."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.safety_checker import SafetyChecker
from lorajobs.errors import OutOfMemory
from tests.engine import safety
from tests.engine.adapters import demo, pixels
from tests.images import a_picture
from tests.jobs import a_spec

pytestmark = pytest.mark.gpu

QUICK = {"width": 64, "height": 64, "num_inference_steps": 3}
#: An index out of bounds, which CUDA tells of later and for ever.
_FAULT = """
import torch
from lorajobs.catalog import Catalog
from lorajobs.engine.base import DeviceFault
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.settings import Settings
from tests.images import a_picture
from tests.jobs import a_spec

entry, settings = Catalog.load(None).models["demo"], Settings(device="cuda")
engine = DiffusersEngine(entry, settings)
engine.load()
spec = a_spec(width=64, height=64, num_inference_steps=3)
made = engine.generate(spec, lambda step: None)
torch.zeros(1, device="cuda")[torch.tensor([5], device="cuda")]
for call in (
    lambda: engine.generate(spec, lambda step: None).pictures,
    engine.check,
    engine.close,
    DiffusersEngine(entry, settings).load,
):
    try:
        call()
    except DeviceFault as error:
        print("fault:", str(error).splitlines()[0])
"""


def test_a_fault_is_told_apart_from_a_failed_job() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _FAULT], capture_output=True, text=True, check=False
    )
    assert ended.stdout.count("fault: ") == 4, ended.stderr


def test_a_job_that_is_short_of_memory_leaves_the_engine_usable(recorded: DiffusersEngine) -> None:
    before = pixels(recorded, demo("pixel"))
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    hoard = torch.empty(free - (600 << 20), dtype=torch.uint8, device="cuda")
    try:
        with pytest.raises(OutOfMemory):
            recorded.generate(a_spec(**QUICK | {"width": 2048, "height": 2048}), lambda step: None)
        assert total > free
        assert pixels(recorded, demo("pixel")) == before
    finally:
        del hoard
        torch.cuda.empty_cache()


def test_the_safety_checker_flags_on_a_gpu_what_it_must(tmp_path: Path) -> None:
    fine = a_picture(64, 64)
    images = [fine, Image.effect_noise(fine.size, 90).convert("RGB")]
    folder = safety.save(tmp_path / "checker", concept=images[1], fine=images[0])
    checker = SafetyChecker(folder, folder, torch.device("cuda"))
    assert [flag.nsfw for flag in checker.check(images)] == [False, True]
