"""Several pictures of one job on a GPU: together where that pays, and then as each alone."""

import numpy as np
import pytest
import torch

from lorajobs.engine.batching import size_of, step_time
from lorajobs.engine.pipeline import DiffusersEngine
from tests.engine.adapters import demo
from tests.engine.test_batching import InTwos
from tests.gpu.conftest import MakeEngine
from tests.jobs import a_spec

pytestmark = pytest.mark.gpu

QUICK = {"width": 64, "height": 64, "num_inference_steps": 4}


@pytest.mark.parametrize(("dtype", "furthest"), [("float32", 4), ("float16", 64)])
def test_a_batch_has_the_pictures_of_its_seeds(
    demo_on: MakeEngine, dtype: str, furthest: int
) -> None:
    engine = demo_on(dtype=dtype, batch="never")
    engine.apply([demo("pixel")])
    spec = a_spec(**QUICK, num_images=3)
    alone = [p.image for p in engine.generate(spec, lambda _: None).pictures]
    engine._batching = InTwos()
    together = [p.image for p in engine.generate(spec, lambda _: None).pictures]
    # Pairs and a single one: two forms.
    assert engine._graphs is not None
    assert engine._graphs.count == 2
    assert together[2].tobytes() == alone[2].tobytes()
    for one, other in zip(together, alone, strict=True):
        apart = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
        assert apart.max() <= furthest
        assert apart.mean() <= 2
    assert len({image.tobytes() for image in together}) == 3


def test_never_is_exact(demo_on: MakeEngine) -> None:
    engine = demo_on(batch="never")
    several = engine.generate(a_spec(**QUICK, num_images=2, seed=5), lambda _: None).pictures
    (second,) = engine.generate(a_spec(**QUICK, seed=6), lambda _: None).pictures
    assert several[1].image.tobytes() == second.image.tobytes()


def test_a_size_is_measured_by_the_first_job_that_could_gain(demo_on: MakeEngine) -> None:
    engine, told = demo_on(), list[int]()
    spec = a_spec(**QUICK, num_images=4)
    first = engine.generate(spec, told.append).pictures
    # Five steps of one picture, five of four, then the job's own.
    assert told[:10] == [0] * 10
    assert told[-1] == 16
    gains = engine._batching._gains[size_of(spec)]
    # If that does not pay, two do not either.
    assert set(gains) == {4}
    told.clear()
    again = engine.generate(spec, told.append).pictures
    assert 0 not in told
    assert [p.image.tobytes() for p in again] == [p.image.tobytes() for p in first]


def test_a_larger_step_takes_longer(recorded: DiffusersEngine) -> None:
    asked = {"prompt": "a red heart", "guidance_scale": 4.0}
    small, large = (
        step_time(recorded._pipe, asked | {"width": side, "height": side}, 1, lambda _: None)
        for side in (64, 512)
    )
    assert 0 < small < large < 5


def test_a_batch_without_memory_is_made_one_by_one(demo_on: MakeEngine) -> None:
    engine = demo_on(batch="never")
    spec = a_spec(**QUICK, num_images=2)
    expected = [p.image.tobytes() for p in engine.generate(spec, lambda _: None).pictures]
    engine._batching = batching = InTwos()

    def short(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    # Inside of what is recorded.
    engine._pipe.unet.conv_in.register_forward_pre_hook(short)
    made = [p.image.tobytes() for p in engine.generate(spec, lambda _: None).pictures]
    assert batching.gave_up
    assert made == expected
