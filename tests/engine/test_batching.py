"""Pictures of one job denoised together are those that each would be alone."""

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorajobs.catalog import ModelEntry
from lorajobs.engine.batching import Batching, StepTime, step_time
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BadPicture, JobCanceled
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec
from tests.engine.adapters import demo
from tests.engine.test_image_to_image import a_picture, from_picture
from tests.engine.tiny import FAMILIES, save
from tests.jobs import a_spec

QUICK = {"width": 64, "height": 64, "num_inference_steps": 3}
#: In single precision; sums of a batch are made in another order.
FURTHEST_BYTE = 1


class InTwos(Batching):
    """Batches of two, whatever they bring, until memory was short."""

    def __init__(self) -> None:
        super().__init__(allowed=True)
        self.gave_up = False
        self.asked: list[Hashable] = []

    def parts(self, size: Hashable, count: int, step_s: StepTime) -> Sequence[int]:
        self.asked.append(size)
        return [1] * count if self.gave_up else [2] * (count // 2) + [1] * (count % 2)

    def give_up(self, size: Hashable) -> bool:
        self.gave_up = True
        return True


@pytest.fixture
def together(engine: DiffusersEngine) -> Iterator[InTwos]:
    """The demo base makes pictures in twos."""
    before = engine._batching
    engine._batching = made = InTwos()
    yield made
    engine._batching = before


def images(
    engine: DiffusersEngine, spec: JobSpec, source: Image.Image | None = None
) -> Sequence[Image.Image]:
    pictures = engine.generate(spec, lambda _: None, source).pictures
    assert [picture.seed for picture in pictures] == [spec.seed + i for i in range(len(pictures))]
    return [picture.image for picture in pictures]


def alone(
    engine: DiffusersEngine, spec: JobSpec, source: Image.Image | None = None
) -> Sequence[Image.Image]:
    seeds = range(spec.seed, spec.seed + spec.num_images)
    ones = [spec.model_copy(update={"num_images": 1, "seed": seed}) for seed in seeds]
    return [image for one in ones for image in images(engine, one, source)]


def assert_alike(some: Sequence[Image.Image], others: Sequence[Image.Image]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        apart = np.asarray(one).astype(int) - np.asarray(other)
        assert np.abs(apart).max() <= FURTHEST_BYTE
    assert len({image.tobytes() for image in some}) == len(some)


@pytest.mark.parametrize("scheduler", [None, "EulerAncestralDiscreteScheduler"])
def test_each_picture_is_that_of_its_seed(
    engine: DiffusersEngine, together: InTwos, scheduler: str | None
) -> None:
    engine.apply([demo("pixel")])
    calls: list[int] = []
    hook = engine._pipe.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    spec = a_spec(**QUICK, num_images=3, seed=40, scheduler=scheduler)
    found = images(engine, spec)
    hook.remove()
    # Three steps of two pictures with guidance, then three of one.
    assert calls == [4, 4, 4, 2, 2, 2]
    assert together.asked == [(64, 64, True)]
    assert_alike(found, alone(engine, spec))


@pytest.mark.parametrize("family", FAMILIES)
def test_on_every_architecture_from_text_and_from_a_picture(family: str, tmp_path: Path) -> None:
    entry = ModelEntry(id=family, path=save(family, tmp_path))
    engine = DiffusersEngine(entry, Settings(device="cpu"))
    engine.load()
    engine._batching = InTwos()
    text = a_spec(**QUICK | {"num_inference_steps": 2}, num_images=2)
    assert_alike(images(engine, text), alone(engine, text))
    picture = from_picture(0.5, steps=4, left=2, num_images=2)
    assert_alike(images(engine, picture, a_picture()), alone(engine, picture, a_picture()))


@pytest.mark.parametrize("scheduler", [None, "HeunDiscreteScheduler"])
def test_steps_of_all_pictures_are_counted(
    engine: DiffusersEngine, together: InTwos, scheduler: str | None
) -> None:
    steps: list[int] = []
    engine.generate(a_spec(**QUICK, num_images=3, scheduler=scheduler), steps.append)
    assert sorted(set(steps)) == [2, 4, 6, 7, 8, 9]
    assert steps == sorted(steps)


def test_a_job_can_be_canceled_in_the_middle_of_a_batch(
    engine: DiffusersEngine, together: InTwos
) -> None:
    def cancel(step: int) -> None:
        if step == 4:
            raise JobCanceled

    spec = a_spec(**QUICK, num_images=2)
    with pytest.raises(JobCanceled):
        engine.generate(spec, cancel)
    assert_alike(images(engine, spec), alone(engine, spec))


def test_one_broken_picture_of_a_batch_ends_the_job(
    engine: DiffusersEngine, together: InTwos
) -> None:
    def spoil(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        latents = given[0].clone()
        latents[1, 0, 0, 0] = float("nan")
        return (latents, *given[1:])

    hook = engine._pipe.unet.register_forward_pre_hook(spoil)
    try:
        with pytest.raises(BadPicture, match="not finite"):
            images(engine, a_spec(**QUICK, num_images=2))
    finally:
        hook.remove()
    assert len(images(engine, a_spec(**QUICK, num_images=2))) == 2


def test_a_batch_that_runs_out_of_memory_is_made_one_by_one(
    engine: DiffusersEngine, together: InTwos
) -> None:
    spec = a_spec(**QUICK, num_images=2)
    expected = alone(engine, spec)

    def short(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if len(given[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = engine._pipe.unet.register_forward_pre_hook(short)
    try:
        found = images(engine, spec)
    finally:
        hook.remove()
    assert together.gave_up
    assert [image.tobytes() for image in found] == [image.tobytes() for image in expected]


def test_a_cpu_makes_each_picture_alone(engine: DiffusersEngine) -> None:
    spec = a_spec(**QUICK, num_images=2)
    found, ones = images(engine, spec), alone(engine, spec)
    assert [image.tobytes() for image in found] == [image.tobytes() for image in ones]


def test_a_step_is_timed_and_the_pipeline_left_as_it_was(engine: DiffusersEngine) -> None:
    told: list[int] = []
    scheduler = engine._pipe.scheduler
    asked = {"prompt": "a red heart", "width": 64, "height": 64, "guidance_scale": 4.0}
    assert step_time(engine._pipe, asked, 2, told.append) > 0
    # No progress, but at each step a chance to end.
    assert told == [0] * 5
    assert engine._pipe.scheduler is scheduler
