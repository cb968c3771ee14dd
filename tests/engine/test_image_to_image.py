"""Jobs that start from a picture: diffusers' own pictures, from the very same weights."""

from pathlib import Path
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.auto_pipeline import AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, _get_task_class
from PIL import Image, ImageDraw

from lorajobs.catalog import DEMO, ModelEntry
from lorajobs.engine.ferry import tensors_of
from lorajobs.engine.loading import models_of
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.twin import twin
from lorajobs.errors import EngineFailed, JobCanceled
from lorajobs.image_to_image import RULES
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec, SourceImage
from tests.engine.adapters import demo, factors, local, prefixed, saved
from tests.engine.tiny import save
from tests.jobs import a_spec

SIDE = 64


def a_picture() -> Image.Image:
    """A green disc on blue, which no prompt of these tests asks for."""
    image = Image.new("RGB", (SIDE, SIDE), (30, 60, 200))
    ImageDraw.Draw(image).ellipse((12, 12, 52, 52), fill=(40, 180, 60))
    return image


def from_picture(strength: float, steps: int = 6, left: int = 3, **fields: object) -> JobSpec:
    """A job of so many steps, of which as many are left as `strength` says."""
    image = SourceImage(reference="x", sha256="0" * 64, width=SIDE, height=SIDE, steps=left)
    size = {"width": SIDE, "height": SIDE, "num_inference_steps": steps}
    return a_spec(image=image, strength=strength, **(size | fields))


def made(engine: DiffusersEngine, spec: JobSpec) -> Image.Image:
    return engine.generate(spec, lambda step: None, a_picture()).pictures[0].image


def theirs(pipe: diffusers.DiffusionPipeline, strength: float, steps: int) -> Image.Image:
    """What diffusers makes of the same, as its documentation says."""
    own: dict[str, object] = {"width": SIDE, "height": SIDE}
    kinds = (diffusers.StableDiffusionXLImg2ImgPipeline, diffusers.StableDiffusionImg2ImgPipeline)
    if isinstance(pipe, kinds):
        own = {}
    made: Image.Image = pipe(
        prompt="a red heart",
        image=a_picture(),
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(7),
        **own,
    ).images[0]
    return made


def loaded(folder: Path) -> diffusers.DiffusionPipeline:
    index = diffusers.DiffusionPipeline.load_config(folder)
    without = {name: None for name, part in index.items() if part == [None, None]}
    pipe = diffusers.AutoPipelineForImage2Image.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, **without
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("name", RULES)
def test_the_table_is_diffusers_own(name: str) -> None:
    kind = _get_task_class(AUTO_IMAGE2IMAGE_PIPELINES_MAPPING, name)
    flow = RULES[name] is RULES["FluxPipeline"]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler() if flow else diffusers.DDIMScheduler()
    for steps in (1, 2, 3, 7, 20, 28, 30, 50):
        scheduler.set_timesteps(steps)
        for hundredths in range(1, 101):
            pipe = SimpleNamespace(scheduler=scheduler)
            timesteps, left = kind.get_timesteps(pipe, steps, hundredths / 100, "cpu")
            ours = RULES[name](steps, hundredths / 100)
            assert ours == len(timesteps) == left, (steps, hundredths)


@pytest.fixture(scope="module")
def demo_of_diffusers() -> diffusers.DiffusionPipeline:
    return loaded(DEMO.parent / "base")


@pytest.mark.parametrize(("strength", "left"), [(0.5, 3), (1.0, 6)])
def test_the_demo_makes_what_diffusers_makes(
    engine: DiffusersEngine,
    demo_of_diffusers: diffusers.DiffusionPipeline,
    strength: float,
    left: int,
) -> None:
    engine.apply([])
    ours = made(engine, from_picture(strength, left=left))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs(demo_of_diffusers, strength, 6)))


def test_an_adapter_does_to_it_what_it_does_in_diffusers(
    engine: DiffusersEngine, demo_of_diffusers: diffusers.DiffusionPipeline, tmp_path: Path
) -> None:
    # In the one naming of the demo's that diffusers reads whole.
    path = saved(tmp_path / "pixel.safetensors", prefixed("unet.", factors("pixel")))
    bare = np.asarray(theirs(demo_of_diffusers, 0.5, 6), np.int16)
    try:
        demo_of_diffusers.load_lora_weights(str(path))
        expected = np.asarray(theirs(demo_of_diffusers, 0.5, 6), np.int16)
    finally:
        demo_of_diffusers.unload_lora_weights()
    engine.apply([local(path)])
    ours = np.asarray(made(engine, from_picture(0.5)), np.int16)
    # Ours are added to the weights, theirs to what the weights make.
    assert abs(ours - expected).max() <= 1
    assert abs(ours - bare).max() > 20


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux"])
def test_each_family_makes_what_diffusers_makes(family: str, tmp_path: Path) -> None:
    folder = save(family, tmp_path / family)
    engine = DiffusersEngine(ModelEntry(id=family, path=folder), Settings(device="cpu"))
    engine.load()
    spec = from_picture(0.6, steps=4, left=2 if family == "sdxl" else 3)
    steps: list[int] = []
    ours = engine.generate(spec, steps.append, a_picture()).pictures[0].image
    assert steps == list(range(1, spec.steps + 1))
    assert np.array_equal(np.asarray(ours), np.asarray(theirs(loaded(folder), 0.6, 4)))


def test_the_twin_has_no_weight_of_its_own(engine: DiffusersEngine) -> None:
    engine.apply([demo("pixel")])
    pipe = engine._pipe
    other = twin(pipe)
    assert type(other) is diffusers.StableDiffusionImg2ImgPipeline
    assert all(other.components[name] is part for name, part in pipe.components.items())
    ours, its = (
        {id(tensor): tensor.data_ptr() for tensor in tensors_of(models_of(p).values())}
        for p in (pipe, other)
    )
    assert ours == its
    assert len(ours) > 100


def test_the_further_it_goes_the_less_is_left_of_the_picture(engine: DiffusersEngine) -> None:
    engine.apply([])
    source = np.asarray(a_picture(), np.float32)
    away = [
        float(np.abs(np.asarray(made(engine, from_picture(s, 5, n)), np.float32) - source).mean())
        for s, n in ((0.2, 1), (0.4, 2), (0.8, 4))
    ]
    assert away == sorted(away)
    assert away[2] > 1.5 * away[0]


@pytest.mark.parametrize("scheduler", [None, "HeunDiscreteScheduler"])
def test_only_the_steps_that_are_made_are_counted(
    engine: DiffusersEngine, scheduler: str | None
) -> None:
    steps: list[int] = []
    spec = from_picture(0.5, num_images=2, scheduler=scheduler)
    engine.generate(spec, steps.append, a_picture())
    assert sorted(set(steps)) == [1, 2, 3, 4, 5, 6]
    assert steps == sorted(steps)
    assert steps[-1] == spec.all_steps


def test_a_canceled_one_leaves_the_engine_usable(engine: DiffusersEngine) -> None:
    engine.apply([])
    before = made(engine, from_picture(0.5)).tobytes()

    def cancel(step: int) -> None:
        if step == 2:
            raise JobCanceled

    spec = from_picture(0.5, scheduler="EulerAncestralDiscreteScheduler")
    with pytest.raises(JobCanceled):
        engine.generate(spec, cancel, a_picture())
    assert made(engine, from_picture(0.5)).tobytes() == before


def test_a_picture_is_never_left_out_without_a_word(engine: DiffusersEngine) -> None:
    with pytest.raises(EngineFailed, match="source picture has the size None"):
        engine.generate(from_picture(0.5), lambda step: None)
    with pytest.raises(EngineFailed, match=r"\(64, 64\), not"):
        engine.generate(a_spec(), lambda step: None, a_picture())


def test_a_pipeline_without_a_twin_says_so() -> None:
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
    )
    pipe = diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler())
    with pytest.raises(EngineFailed, match="DDPMPipeline cannot start from a picture"):
        twin(pipe)
