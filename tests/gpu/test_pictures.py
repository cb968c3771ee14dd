"""Pictures on a GPU: exact with recorded steps, and while the next job is already under way."""

import inspect
import random

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from lorajobs.engine.base import Generation, LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BadPicture, JobCanceled
from lorajobs.spec import JobSpec, SourceImage
from tests.engine.adapters import demo, pixels
from tests.gpu.conftest import MakeEngine
from tests.images import a_picture
from tests.jobs import a_spec

pytestmark = pytest.mark.gpu

QUICK = {"width": 64, "height": 64, "num_inference_steps": 4}
NAMES = ("pixel", "lineart", "soft3d")
SETS: tuple[tuple[LocalAdapter, ...], ...] = (
    (),
    *((demo(name),) for name in NAMES),
    (demo("pixel", 0.6), demo("lineart", 0.7)),
)


def begun(engine: DiffusersEngine, adapters: tuple[LocalAdapter, ...], seed: int) -> Generation:
    engine.apply(adapters)
    return engine.generate(a_spec(**QUICK, seed=seed), lambda step: None)


def test_recorded_steps_make_the_eager_pictures_to_the_byte(
    recorded: DiffusersEngine, eager: DiffusersEngine
) -> None:
    for number, adapters in enumerate(SETS * 2):
        ours, theirs = (pixels(e, *adapters, seed=number) for e in (recorded, eager))
        assert ours == theirs, adapters
    assert recorded._graphs is not None
    assert recorded._graphs.count
    assert len({pixels(recorded, *adapters) for adapters in SETS}) == len(SETS)


def test_a_picture_is_its_own_whatever_follows_at_once(recorded: DiffusersEngine) -> None:
    chance = random.Random(1)
    turns = [(chance.choice(SETS), number) for number in range(60)]
    alone = [
        begun(recorded, adapters, seed).pictures[0].image.tobytes() for adapters, seed in turns
    ]
    coming = [begun(recorded, adapters, seed) for adapters, seed in turns]
    assert [made.pictures[0].image.tobytes() for made in coming] == alone


def test_adapters_come_and_go_without_a_picture_between(recorded: DiffusersEngine) -> None:
    bare = pixels(recorded)
    chance = random.Random(2)
    for _ in range(200):
        recorded.apply(chance.choice(SETS))
        if chance.random() < 0.2:
            recorded.stage([demo(chance.choice(NAMES))])
    recorded.check()
    assert pixels(recorded, *SETS[4]) == pixels(recorded, *SETS[4])
    assert pixels(recorded) == bare


def test_a_canceled_job_leaves_the_engine_usable(recorded: DiffusersEngine) -> None:
    before = pixels(recorded, demo("pixel"))

    def cancel(step: int) -> None:
        if step == 2:
            raise JobCanceled

    for _ in range(5):
        recorded.apply([demo("lineart")])
        with pytest.raises(JobCanceled):
            recorded.generate(a_spec(**QUICK), cancel)
    assert pixels(recorded, demo("pixel")) == before


def test_a_picture_that_is_not_finite_is_none(demo_on: MakeEngine) -> None:
    engine = demo_on()
    with torch.no_grad():
        list(engine._pipe.vae.decoder.parameters())[-1].fill_(float("nan"))
    made = engine.generate(a_spec(**QUICK), lambda step: None)
    with pytest.raises(BadPicture, match="not finite"):
        made.pictures  # noqa: B018


@pytest.mark.parametrize("placement", ["host", "unfused"])
def test_each_placement_puts_the_base_back_exactly(demo_on: MakeEngine, placement: str) -> None:
    engine = demo_on(placement=placement)
    bare = pixels(engine)
    styled = {pixels(engine, *adapters) for adapters in SETS[1:]}
    assert len(styled | {bare}) == len(SETS)
    assert pixels(engine) == bare


def test_tiles_are_decoded_one_by_one(demo_on: MakeEngine) -> None:
    engine = demo_on(vae_tiling=True)
    made = engine.generate(a_spec(**QUICK | {"width": 256, "height": 256}), lambda step: None)
    assert made.pictures[0].image.size == (256, 256)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
@pytest.mark.parametrize("speed", ["eager", "auto"])
def test_an_image_to_image_job_makes_what_diffusers_makes(
    family_on: MakeEngine, family: str, speed: str
) -> None:
    engine = family_on(family, speed=speed, dtype="float32")
    image = SourceImage(reference="x", sha256="f" * 64, width=64, height=64, steps=2)
    spec: JobSpec = a_spec(**QUICK, image=image, strength=0.6)
    source = a_picture(64, 64)
    ours = engine.generate(spec, lambda step: None, source).pictures[0].image
    theirs = _of_diffusers(engine, spec, source)
    # A recorded step may choose another kernel than an eager one.
    assert np.abs(np.asarray(ours, np.int16) - np.asarray(theirs, np.int16)).max() <= 1


def _of_diffusers(engine: DiffusersEngine, spec: JobSpec, source: Image.Image) -> Image.Image:
    pipe = diffusers.AutoPipelineForImage2Image.from_pipe(engine._pipe)
    pipe.set_progress_bar_config(disable=True)
    takes_size = "width" in inspect.signature(pipe.__call__).parameters
    size = {"width": spec.width, "height": spec.height} if takes_size else {}
    made = pipe(
        **size,
        prompt=spec.prompt,
        image=source,
        strength=spec.strength,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(spec.seed),
    )
    picture: Image.Image = made.images[0]
    return picture
