"""What a picture is asked for on the command line, as the body of `POST /v1/jobs`."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
#: What stands before the first colon of a reference; of any other text it is an id.
SCHEMES = {"hf", "s3", "http", "https"}
F = TypeVar("F", bound=Callable[..., object])


def parse_lora(text: str) -> dict[str, object]:
    """`pixel`, `pixel:0.9` or any reference, such as `hf:owner/name@revision:0.9`.

    Raises: click.BadParameter if the scale is not a number.
    """
    reference, colon, scale = text.rpartition(":")
    if not colon or "/" in scale or reference in SCHEMES:
        return {_kind(text): text}
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise click.BadParameter(
            f"{text}: the scale {scale!r} is not a finite number; write ID:SCALE, such as pixel:0.9"
        )
    return {_kind(reference): reference, "scale": number}


def _kind(reference: str) -> str:
    return "path" if ":" in reference or "/" in reference else "id"


def _finite(_context: object, _option: object, number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise click.BadParameter(f"{number} is not a finite number")
    return number


def _lora(_context: object, _option: object, texts: Sequence[str]) -> list[dict[str, object]]:
    return [parse_lora(text) for text in texts]


def _size(_context: object, _option: object, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter("give WIDTHxHEIGHT in pixels, such as 1024x768")
    return int(width), int(height)


def _file(_context: object, _option: object, file: Path | None) -> Path | None:
    if file and file.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise click.BadParameter(f"the name must end in one of {known}")
    if file and not file.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {file.parent}")
    return file


_OPTIONS = (
    click.argument("prompt"),
    click.option("--model", metavar="ID", help="A base model or adapter."),
    click.option(
        "--lora",
        "loras",
        multiple=True,
        callback=_lora,
        metavar="ID[:SCALE]",
        help="An adapter and its scale; repeat for several. "
        "Also hf:owner/name[@revision], s3://…, https://….",
    ),
    click.option(
        "--on-lora-error",
        type=click.Choice(["fail", "skip"]),
        help="Whether an adapter that cannot be applied fails the job (the default) or is left "
        "out with a warning.",
    ),
    click.option("--steps", type=click.IntRange(1), help="Denoise steps."),
    click.option("--size", callback=_size, metavar="WxH", help="Size in pixels."),
    click.option("--seed", type=click.IntRange(0), help="The same seed, the same picture."),
    click.option("--num-images", type=click.IntRange(1, 8), help="Image i has seed + i."),
    click.option("--negative-prompt", help="What the picture should not show."),
    click.option(
        "--guidance-scale",
        type=float,
        callback=_finite,
        help="How strictly to follow the prompt.",
    ),
    click.option("--scheduler", metavar="NAME", help="A diffusers scheduler."),
    click.option(
        "--image",
        metavar="FILE|URL",
        help="A PNG, JPEG or WebP to start from; it also gives the size.",
    ),
    click.option(
        "--strength",
        type=click.FloatRange(0, 1, min_open=True),
        help="How far to go from --image.",
    ),
    click.option(
        "-o",
        "--output",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_file,
        help="Where to save; the ending chooses PNG, JPEG or WebP.",
    ),
)


def picture_options(command: F) -> F:
    """The prompt and the options that every command has which asks for pictures."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def body(asked: Mapping[str, object], model: str, file: Path | None) -> dict[str, object]:
    """The request, with nothing in it that was left out."""
    names = {"steps": "num_inference_steps"}
    request = {
        names.get(name, name): value
        for name, value in asked.items()
        if name != "size" and value not in (None, [])
    }
    if isinstance(size := asked.get("size"), tuple):
        request["width"], request["height"] = size
    if file:
        request["output"] = {"format": FORMATS[file.suffix.lower()]}
    return {**request, "model": model}


def numbered(file: Path, count: int) -> list[Path]:
    """The file for a single picture, `name-0.png`, `name-1.png` … for several."""
    if count == 1:
        return [file]
    return [file.with_stem(f"{file.stem}-{index}") for index in range(count)]
