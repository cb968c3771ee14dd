"""What a picture to start from means for a job: its size, its steps, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from lorajobs.errors import RequestError, ValidationFailed
from lorajobs.image_errors import ImageNotFound
from lorajobs.plan import Plan, plan
from lorajobs.request import JobRequest
from lorajobs.source_picture import SourcePicture, read_picture
from tests.images import a_picture, decoded, encoded
from tests.shelf import Shelf, refuse_private

URL = "https://pictures.example/a.png?signature=secret"


class Wall:
    """Pictures of a size, for bases with a pipeline."""

    def __init__(self, width: int = 96, height: int = 64, pipeline: str = "FluxPipeline") -> None:
        self.data = encoded(a_picture(width, height))
        self.pipeline = pipeline
        self.asked: list[str] = []

    def pipeline_of(self, base: object) -> str:
        return self.pipeline

    def open(self, reference: str) -> SourcePicture:
        self.asked.append(reference)
        if reference.startswith("image-"):
            raise ImageNotFound("nothing is there")
        return read_picture(self.data, 10**8)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def planned(shelf: Shelf, wall: Wall | None, **fields: Any) -> Plan:
    body = {"model": "demo", "prompt": "a red heart", "image": URL} | fields
    request = JobRequest.parse(json.dumps(body).encode())
    return plan(request, shelf.catalog, shelf.library, refuse_private, sources=wall)


def refused(shelf: Shelf, wall: Wall | None, **fields: Any) -> tuple[str, str]:
    with pytest.raises(RequestError) as raised:
        planned(shelf, wall, **fields)
    (error,) = raised.value.errors
    return error.pointer, error.detail


def test_a_job_is_pinned_to_the_picture_and_says_so(shelf: Shelf) -> None:
    wall = Wall()
    made = planned(shelf, wall, num_inference_steps=10, num_images=2)
    spec, image = made.spec, made.spec.image
    assert image
    assert image.sha256 == read_picture(wall.data, 10**8).sha256
    assert (image.width, image.height, image.reference) == (96, 64, URL.split("?")[0] + "?…")
    assert (spec.strength, image.steps, spec.steps, spec.all_steps) == (0.8, 8, 8, 16)
    assert made.source
    assert decoded(made.source).size == (spec.width, spec.height) == (96, 64)


def test_text_alone_is_as_before(shelf: Shelf) -> None:
    made = planned(shelf, None, image=None)
    assert (made.source, made.spec.image, made.spec.strength) == (None, None, None)
    assert made.spec.all_steps == 30


@pytest.mark.parametrize(
    ("own", "fields", "expected"),
    [
        ((96, 64), {}, (96, 64)),
        ((100, 70), {}, (96, 64)),
        # No more than the base makes: at most 256 long, and 128 x 256 pixels.
        ((1200, 900), {}, (192, 128)),
        ((300, 100), {}, (256, 64)),
        ((512, 512), {}, (160, 160)),
        # No less: at least 64.
        ((40, 30), {}, (64, 64)),
        ((96, 64), {"width": 192}, (192, 128)),
        ((96, 64), {"height": 128}, (192, 128)),
        ((96, 64), {"width": 64, "height": 256}, (64, 256)),
        # Far from the proportions of any size, but asked for.
        ((900, 30), {"width": 256, "height": 64}, (256, 64)),
    ],
)
def test_what_is_left_out_of_the_size_comes_from_the_picture(
    shelf: Shelf, own: tuple[int, int], fields: dict[str, int], expected: tuple[int, int]
) -> None:
    made = planned(shelf, Wall(*own), **fields)
    assert (made.spec.width, made.spec.height) == expected
    assert made.source
    assert decoded(made.source).size == expected


def test_a_picture_that_fits_into_no_size_is_refused(shelf: Shelf) -> None:
    pointer, detail = refused(shelf, Wall(900, 30))
    assert pointer == "/image"
    assert "900x30" in detail
    assert "give `width` and `height`" in detail


def test_a_size_that_the_base_does_not_make_is_refused_as_ever(shelf: Shelf) -> None:
    assert refused(shelf, Wall(), width=1024, height=64)[0] == "/width"
    # Of these proportions the width is 384.
    assert refused(shelf, Wall(), height=256)[0] == "/width"


def test_strength_without_a_picture_is_refused(shelf: Shelf) -> None:
    assert refused(shelf, Wall(), image=None, strength=0.5) == (
        "/strength",
        "give it only with `image`",
    )


@pytest.mark.parametrize("strength", [0, -0.1, 1.01])
def test_strength_has_a_range(shelf: Shelf, strength: float) -> None:
    with pytest.raises(ValidationFailed, match="above 0 and at most 1"):
        planned(shelf, Wall(), strength=strength)


@pytest.mark.parametrize(
    ("pipeline", "strength", "steps"),
    [("StableDiffusionPipeline", 0.35, 3), ("FluxPipeline", 0.35, 4), ("FluxPipeline", 1, 10)],
)
def test_steps_are_counted_as_the_pipeline_does(
    shelf: Shelf, pipeline: str, strength: float, steps: int
) -> None:
    wall = Wall(pipeline=pipeline)
    made = planned(shelf, wall, strength=strength, num_inference_steps=10)
    assert (made.spec.steps, made.spec.num_inference_steps) == (steps, 10)


def test_less_than_a_step_is_refused_with_a_strength_that_is_not(shelf: Shelf) -> None:
    wall = Wall(pipeline="StableDiffusionPipeline")
    pointer, detail = refused(shelf, wall, strength=0.03, num_inference_steps=30)
    assert (pointer, wall.asked) == ("/strength", [])
    assert detail.startswith("0.03 of 30 steps is less than one: give at least 0.034")
    assert planned(shelf, wall, strength=0.034, num_inference_steps=30).spec.steps == 1


def test_a_base_that_starts_from_text_alone_says_so_before_anything_is_fetched(
    shelf: Shelf,
) -> None:
    wall = Wall(pipeline="PixArtAlphaPipeline")
    pointer, detail = refused(shelf, wall)
    assert (pointer, wall.asked) == ("/image", [])
    assert detail == "demo starts from text alone: its pipeline is PixArtAlphaPipeline"


def test_a_picture_that_is_not_there_is_the_fields_error(shelf: Shelf) -> None:
    assert refused(shelf, Wall(), image="image-" + "0" * 64) == ("/image", "nothing is there")


def test_where_no_pictures_are_taken_none_is_passed_over(shelf: Shelf) -> None:
    assert refused(shelf, None) == ("/image", "pictures to start from are not taken here")
