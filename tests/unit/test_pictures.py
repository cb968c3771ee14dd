"""Pictures as files, read back by Pillow."""

import hashlib
import io
import json

import pytest
from PIL import Image

from lorajobs.jobs import AppliedLora
from lorajobs.pictures import describe, encode, read_text
from lorajobs.spec import OutputFormat
from tests.jobs import a_spec

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
TEXT = {"prompt": 'a "red" heart, ünder 心 ❤', "seed": "7", "loras": "[]"}


def a_picture() -> Image.Image:
    """A gradient, 48 × 32 pixels."""
    return Image.linear_gradient("L").resize((48, 32)).convert("RGB")


@pytest.mark.parametrize("kind", TYPES)
def test_round_trip(kind: str) -> None:
    output = OutputFormat.model_validate({"format": kind})
    encoded = encode(a_picture(), output, TEXT)
    assert encoded.content_type == TYPES[kind]
    assert (encoded.width, encoded.height) == (48, 32)
    assert encoded.sha256 == hashlib.sha256(encoded.data).hexdigest()
    assert read_text(encoded.data) == TEXT
    with Image.open(io.BytesIO(encoded.data)) as read:
        assert read.format == kind.upper()
        assert read.size == (48, 32)
        # JPEG and WebP lose a little, PNG nothing.
        middle = read.convert("RGB").getpixel((24, 16))
    assert isinstance(middle, tuple)
    assert abs(middle[0] - a_picture().getpixel((24, 16))[0]) <= (0 if kind == "png" else 4)  # type: ignore[index]


@pytest.mark.parametrize("kind", TYPES)
def test_without_text(kind: str) -> None:
    output = OutputFormat.model_validate({"format": kind})
    assert read_text(encode(a_picture(), output, None).data) == {}


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_quality_matters(kind: str) -> None:
    sizes = [
        len(encode(a_picture().effect_spread(9), OutputFormat(format=kind, quality=q), None).data)
        for q in (20, 90)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("kind", TYPES)
def test_the_same_picture_gives_the_same_bytes(kind: str) -> None:
    output = OutputFormat.model_validate({"format": kind})
    assert encode(a_picture(), output, TEXT) == encode(a_picture(), output, TEXT)


def test_texts_that_do_not_fit_into_exif_are_cut() -> None:
    long = {"prompt": "😀" * 10_000, "negative_prompt": "é" * 10_000, "seed": "7"}
    read = read_text(encode(a_picture(), OutputFormat(format="jpeg"), long).data)
    assert read["seed"] == "7"
    assert read["prompt"] == "😀" * len(read["prompt"])
    assert len(read["prompt"]) > 1000
    assert read_text(encode(a_picture(), OutputFormat(), long).data) == long


def test_a_nul_does_not_break_the_chunk() -> None:
    read = read_text(encode(a_picture(), OutputFormat(), {"prompt": "a\0b", "seed": "7"}).data)
    assert read == {"prompt": "ab", "seed": "7"}


def test_what_a_picture_says() -> None:
    applied = [AppliedLora(id="pixel", revision="r", sha256="ab", scale=0.8)]
    spec = a_spec(prompt="a red heart", negative_prompt="blue", seed=7, num_images=2)
    text = describe(spec, 8, applied)
    assert json.loads(text["loras"]) == [{"id": "pixel", "sha256": "ab", "scale": 0.8}]
    assert {key: text[key] for key in ("model", "prompt", "negative_prompt", "seed")} == {
        "model": "demo",
        "prompt": "a red heart",
        "negative_prompt": "blue",
        "seed": "8",
    }
    assert (text["num_inference_steps"], text["guidance_scale"]) == ("4", "4.0")
    assert (text["scheduler"], describe(a_spec(scheduler="X"), 7, [])["scheduler"]) == ("", "X")


def test_no_picture() -> None:
    with pytest.raises(ValueError, match="not a picture"):
        read_text(b"nothing")
