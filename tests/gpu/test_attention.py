"""The kernel that a base names is the one that its steps use, eager and recorded."""

import numpy as np
import pytest
from PIL import Image

from lorajobs.engine.attention import KERNELS
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BaseLoadFailed
from tests.engine.adapters import demo
from tests.engine.test_attention import Kernels
from tests.gpu.conftest import MakeEngine
from tests.jobs import a_spec

pytestmark = pytest.mark.gpu

#: Bytes of half precision with sums in another order, after four steps.
MEAN_BYTE = 2.0


def picture(engine: DiffusersEngine) -> Image.Image:
    engine.apply([demo("pixel")])
    spec = a_spec(width=64, height=64, num_inference_steps=4)
    return engine.generate(spec, lambda _: None).pictures[0].image


@pytest.mark.parametrize("name", KERNELS)
def test_a_named_kernel_is_used_or_refused(name: str, demo_on: MakeEngine) -> None:
    # Flash takes nothing else than half precision.
    half = {"speed": "eager", "dtype": "float16"}
    try:
        engine = demo_on(attention=name, **half)
    except BaseLoadFailed as error:
        # Every CUDA GPU has the others.
        assert name == "cudnn"
        assert f'attention = "{name}": not on this device' in error.detail  # noqa: PT017
        return
    forward, counter = engine._pipe.unet.forward, Kernels()

    def counted(*args: object, **kwargs: object) -> object:
        with counter:
            return forward(*args, **kwargs)

    engine._pipe.unet.forward = counted
    made = picture(engine)
    assert counter.ran == {name}
    apart = np.asarray(made, np.int16) - np.asarray(picture(demo_on(**half)), np.int16)
    assert np.abs(apart).mean() <= MEAN_BYTE


@pytest.mark.parametrize("name", ["efficient", "math"])
def test_a_recorded_step_has_the_kernel_in_it(name: str, demo_on: MakeEngine) -> None:
    one, other = demo_on(attention=name), demo_on(attention=name, speed="eager")
    assert picture(one).tobytes() == picture(other).tobytes()
    assert one._graphs is not None
    assert one._graphs.count == 1
