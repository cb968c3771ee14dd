"""The engine for users' tests behaves like a real one."""

import time
from pathlib import Path

import pytest

from lorajobs.engine.base import Engine, LocalAdapter
from lorajobs.engine.paint import PaintEngine
from lorajobs.errors import (
    AttemptError,
    BadPicture,
    EngineFailed,
    JobCanceled,
    LoraNotApplied,
    OutOfMemory,
)
from tests.jobs import a_spec, use


@pytest.fixture
def engine() -> Engine:
    painter = PaintEngine()
    painter.load()
    return painter


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(b"weights")
    return path


def painted(engine: Engine, **fields: object) -> bytes:
    """The pixels of one picture."""
    (picture,) = engine.generate(a_spec(**fields), lambda step: None).pictures
    return picture.image.tobytes()


def test_everything_that_matters_changes_the_picture(engine: Engine, file: Path) -> None:
    pictures = [
        painted(engine),
        painted(engine, prompt="a blue heart"),
        painted(engine, negative_prompt="red"),
        painted(engine, seed=8),
        painted(engine, num_inference_steps=5),
        painted(engine, guidance_scale=5.0),
        painted(engine, scheduler="DDIMScheduler"),
    ]
    for name, scale in (("pixel", 1.0), ("pixel", 0.5), ("lineart", 1.0)):
        engine.apply([LocalAdapter(use(name, scale), file)])
        pictures.append(painted(engine))
    assert len(set(pictures)) == len(pictures)


def test_the_same_job_gives_the_same_picture(engine: Engine, file: Path) -> None:
    bare = painted(engine)
    one, other = LocalAdapter(use("pixel"), file), LocalAdapter(use("lineart"), file)
    engine.apply([one, other])
    both = painted(engine)
    engine.apply([other, one])
    assert painted(engine) == both
    engine.apply([])
    assert painted(engine) == bare


def test_picture_i_is_the_single_one_of_seed_plus_i(engine: Engine) -> None:
    steps: list[int] = []
    made = engine.generate(a_spec(num_images=3, seed=40), steps.append)
    assert steps == list(range(1, 13))
    for picture in made.pictures:
        assert painted(engine, seed=picture.seed) == picture.image.tobytes()
        assert picture.image.size == (128, 128)


def test_reports_what_is_applied(engine: Engine, file: Path) -> None:
    engine.preload([LocalAdapter(use("lineart"), file)])
    assert engine.applied() == ()
    applied = engine.apply([LocalAdapter(use("pixel", 0.8), file)])
    assert [(lora.id, lora.scale) for lora in applied] == [("pixel", 0.8)]
    assert engine.applied() == applied


def test_a_missing_file_leaves_no_adapter(engine: Engine, file: Path) -> None:
    engine.apply([LocalAdapter(use("pixel"), file)])
    file.unlink()
    with pytest.raises(LoraNotApplied, match="pixel"):
        engine.apply([LocalAdapter(use("pixel"), file)])
    assert engine.applied() == ()


@pytest.mark.parametrize(
    ("code", "error"),
    [("oom", OutOfMemory), ("bad_picture", BadPicture), ("internal", EngineFailed)],
)
def test_fails_when_asked_to(engine: Engine, code: str, error: type[AttemptError]) -> None:
    steps: list[int] = []
    with pytest.raises(error, match=code):
        engine.generate(a_spec(prompt=f"a heart fail:{code}"), steps.append)
    assert steps == [1, 2]


def test_stops_when_canceled(engine: Engine) -> None:
    def cancel(step: int) -> None:
        if step == 2:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        engine.generate(a_spec(), cancel)
    assert painted(engine)


def test_nothing_works_before_load() -> None:
    with pytest.raises(EngineFailed, match="load"):
        PaintEngine().generate(a_spec(), lambda step: None)


def test_a_change_of_adapters_takes_the_time_of_a_swap(file: Path) -> None:
    painter = PaintEngine(swap_s=0.05)
    begun = time.perf_counter()
    painter.apply([LocalAdapter(use("pixel"), file)])
    assert time.perf_counter() - begun >= 0.05


def test_the_same_adapters_again_take_no_time() -> None:
    # It would not end within a test's time.
    assert PaintEngine(swap_s=3600).apply([]) == ()
