"""Pictures of the real base: reproducible, interruptible, and never broken ones."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lorajobs.catalog import Catalog
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import BadPicture, EngineFailed, JobCanceled, OutOfMemory
from tests.engine.adapters import demo, pixels
from tests.jobs import a_spec

QUICK = {"width": 64, "height": 64, "num_inference_steps": 3}
SCHEDULERS = Catalog.load(None).models["demo"].schedulers


def made(engine: DiffusersEngine, **fields: object) -> list[Image.Image]:
    """Pictures with whatever is applied."""
    generation = engine.generate(a_spec(**(QUICK | fields)), lambda step: None)
    return [picture.image for picture in generation.pictures]


def test_the_picture_is_the_one_that_diffusers_makes(engine: DiffusersEngine) -> None:
    ours = pixels(engine)
    theirs = engine._pipe(
        prompt="a red heart",
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(7),
        **QUICK,
    ).images[0]
    assert ours == theirs.tobytes()


def test_picture_i_is_the_single_one_of_seed_plus_i(engine: DiffusersEngine) -> None:
    engine.apply([demo("pixel")])
    spec = a_spec(**QUICK, num_images=3, seed=40, scheduler="EulerAncestralDiscreteScheduler")
    pictures = engine.generate(spec, lambda step: None).pictures
    assert [picture.seed for picture in pictures] == [40, 41, 42]
    for picture in pictures:
        (alone,) = made(engine, seed=picture.seed, scheduler=spec.scheduler)
        assert alone.tobytes() == picture.image.tobytes()
    assert len({picture.image.tobytes() for picture in pictures}) == 3


@pytest.mark.parametrize("scheduler", [None, "HeunDiscreteScheduler"])
def test_steps_are_counted_over_all_pictures(
    engine: DiffusersEngine, scheduler: str | None
) -> None:
    steps: list[int] = []
    engine.generate(a_spec(**QUICK, num_images=2, scheduler=scheduler), steps.append)
    assert sorted(set(steps)) == [1, 2, 3, 4, 5, 6]
    assert steps == sorted(steps)


@pytest.mark.parametrize("last", [1, 4, 6])
def test_a_canceled_job_leaves_the_engine_usable(engine: DiffusersEngine, last: int) -> None:
    before = pixels(engine, demo("pixel"))
    steps: list[int] = []

    def cancel(step: int) -> None:
        steps.append(step)
        if step == last:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        engine.generate(a_spec(**QUICK, num_images=2, scheduler=SCHEDULERS[1]), cancel)
    assert steps[-1] == last
    assert pixels(engine, demo("pixel")) == before


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_scheduler_of_the_demo_draws_the_same_thing(
    engine: DiffusersEngine, scheduler: str
) -> None:
    engine.apply([])
    own, other = (
        made(engine, width=128, height=128, num_inference_steps=10, scheduler=name)[0]
        for name in (None, scheduler)
    )
    assert _difference(own, other) < 0.05
    # A red heart: red in the middle, white in the corners.
    pixels = np.asarray(other)
    red, green, blue = pixels[50, 64]
    assert red > 180 > 100 > max(green, blue)
    assert pixels[:8, :8].min() > 230


def _difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean() / 255)


def test_a_scheduler_does_not_stay_for_the_next_job(engine: DiffusersEngine) -> None:
    engine.apply([])
    before = made(engine)[0].tobytes()
    assert made(engine, scheduler="EulerAncestralDiscreteScheduler")[0].tobytes() != before
    assert made(engine)[0].tobytes() == before


@pytest.mark.parametrize("name", ["NoScheduler", "UNet2DConditionModel"])
def test_an_unknown_scheduler_is_refused(engine: DiffusersEngine, name: str) -> None:
    with pytest.raises(EngineFailed, match=name):
        made(engine, scheduler=name)


def test_prompts_that_are_cut_are_told(engine: DiffusersEngine) -> None:
    long = "a red heart with " + "Very " * 20 + "long lashes"
    spec = a_spec(**QUICK, prompt=long, negative_prompt="ugly")
    (warning,) = engine.generate(spec, lambda step: None).warnings
    assert warning.code == "prompt_truncated"
    assert warning.detail.startswith("prompt: ")
    assert "24 tokens" in warning.detail
    assert "Very long lashes'" in warning.detail
    assert "heart" not in warning.detail


def test_what_is_told_as_cut_does_not_count(engine: DiffusersEngine) -> None:
    long = "a red heart " * 12
    spec = a_spec(**QUICK, prompt=long)
    (warning,) = engine.generate(spec, lambda step: None).warnings
    cut = warning.detail.split("see '")[1].removesuffix("'")
    whole, read = made(engine, prompt=long)[0], made(engine, prompt=long.strip()[: -len(cut)])[0]
    assert whole.tobytes() == read.tobytes()


def test_negative_prompts(engine: DiffusersEngine) -> None:
    engine.apply([])
    plain, negated = made(engine)[0], made(engine, negative_prompt="a blue car")[0]
    assert plain.tobytes() != negated.tobytes()
    cut = engine.generate(a_spec(**QUICK, negative_prompt="ugly " * 30), lambda step: None).warnings
    assert [w.detail.split(":")[0] for w in cut] == ["negative_prompt"]


def test_a_negative_prompt_without_effect_is_told(engine: DiffusersEngine) -> None:
    spec = a_spec(**QUICK, guidance_scale=1.0, negative_prompt="ugly")
    warnings = engine.generate(spec, lambda step: None).warnings
    assert [w.code for w in warnings] == ["negative_prompt_ignored"]
    assert engine.generate(a_spec(**QUICK, guidance_scale=1.0), lambda step: None).warnings == []


def test_latents_that_are_not_finite_fail_the_job(engine: DiffusersEngine) -> None:
    # A scale beyond all limits: the weights are finite, what they make is not.
    engine.apply([demo("pixel", 1e30)])
    with pytest.raises(BadPicture, match="latents"):
        made(engine)
    assert pixels(engine)


def test_a_constant_picture_fails_the_job(engine: DiffusersEngine) -> None:
    decoder = engine._pipe.vae.decoder
    last = [m for m in decoder.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    kept = {name: value.clone() for name, value in last.state_dict().items()}
    try:
        for parameter in last.parameters():
            parameter.data.zero_()
        with pytest.raises(BadPicture, match="same"):
            made(engine)
    finally:
        last.load_state_dict(kept)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryError(), OutOfMemory),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (RuntimeError("shapes differ"), EngineFailed),
    ],
)
def test_what_the_pipeline_raises_is_translated(
    engine: DiffusersEngine, raised: Exception, expected: type[Exception]
) -> None:
    def hook(*_: object) -> None:
        raise raised

    handle = engine._pipe.unet.register_forward_pre_hook(hook)
    try:
        with pytest.raises(expected, match=str(raised).partition(":")[0].strip("[]") or "Memory"):
            made(engine)
    finally:
        handle.remove()
    assert made(engine)


def test_nothing_works_before_load() -> None:
    from lorajobs.settings import Settings

    cold = DiffusersEngine(Catalog.load(None).models["demo"], Settings(device="cpu"))
    assert cold.applied() == ()
    with pytest.raises(EngineFailed, match="load"):
        cold.apply([])
    with pytest.raises(EngineFailed, match="load"):
        made(cold)


def test_a_picture_may_be_read_after_the_next_one_was_begun(engine: DiffusersEngine) -> None:
    bare, styled = pixels(engine), pixels(engine, demo("soft3d"))
    engine.apply([])
    first = engine.generate(a_spec(**QUICK), lambda step: None)
    engine.apply([demo("soft3d")])
    second = engine.generate(a_spec(**QUICK), lambda step: None)
    assert [made.pictures[0].image.tobytes() for made in (second, first)] == [styled, bare]


def test_adapters_are_staged_beside_a_generation(engine: DiffusersEngine) -> None:
    engine.apply([])
    bare, styled = pixels(engine), pixels(engine, demo("soft3d"))
    engine.apply([])
    lineart = demo("lineart")
    staging: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:

        def on_step(step: int) -> None:
            if step == 1:
                staging.append(pool.submit(engine.stage, [lineart]))

        spec = a_spec(**QUICK)
        (picture,) = engine.generate(spec, on_step).pictures
        staging[0].result()
    assert picture.image.tobytes() == bare
    assert not engine.applied()
    assert lineart.use.adapter.sha256 in engine.resident()
    assert pixels(engine, demo("soft3d")) == styled
