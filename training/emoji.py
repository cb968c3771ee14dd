"""Emoji with captions, in four styles: what the demo's base and its adapters learned from.

    npm install --prefix emoji @iconify-json/fluent-emoji-flat @iconify-json/fluent-emoji \\
        @iconify-json/fluent-emoji-high-contrast emojibase-data
    pip install resvg-py
    python -m training.emoji emoji/node_modules data

writes the folders flat, soft3d, lineart and pixel. The first three are drawings of one set (Fluent
Emoji, Microsoft, MIT licence); pixel is made of flat.
"""

import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from PIL import Image

from training.captioned import Captioned, write

#: The folder of each style and its package.
SETS = {
    "flat": "fluent-emoji-flat",
    "soft3d": "fluent-emoji",
    "lineart": "fluent-emoji-high-contrast",
}
SIZE = 128
#: White around a drawing, as a share of its width.
MARGIN = 0.05
BLOCK = 8
#: Brightness between two colours of a pixelated picture.
COARSE = 36


class Caption(NamedTuple):
    """What an emoji is called, and other words for it."""

    label: str
    tags: tuple[str, ...]


def captions(file: Path) -> Mapping[str, Caption]:
    """By its slug, the caption of each emoji and of each skin tone in emojibase's data."""
    found = {}
    for entry in json.loads(file.read_text(encoding="utf-8")):
        for one in (entry, *entry.get("skins", ())):
            label = one["label"].lower()
            tags = one.get("tags", entry.get("tags", ()))
            found[slug(label)] = Caption(label, tuple(tag.lower() for tag in tags))
    return found


def slug(label: str) -> str:
    """A label as the drawings are named."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub("['’]", "", label.lower())).strip("-")


def drawn(icons: Mapping[str, Any], name: str) -> Image.Image:
    """One drawing of a set, on white."""
    # Needed here alone, and by nobody who trains an adapter.
    from resvg_py import svg_to_bytes

    icon = icons["icons"][name]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    # Some are not square.
    side = max(width, height) * (1 + 2 * MARGIN)
    body = icon["body"].replace("currentColor", "#111")
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{(width - side) / 2} {(height - side) / 2} {side} {side}">{body}</svg>'
    )
    picture = Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))))
    paper = Image.new("RGB", (SIZE, SIZE), "white")
    paper.paste(picture, mask=picture.convert("RGBA").getchannel("A"))
    return paper


def pixelated(picture: Image.Image) -> Image.Image:
    """The picture in blocks of few colours."""
    small = picture.resize((SIZE // BLOCK, SIZE // BLOCK), Image.Resampling.BOX)
    coarse = small.point(lambda value: min(255, round(value / COARSE) * COARSE))
    return coarse.resize((SIZE, SIZE), Image.Resampling.NEAREST)


def captioned(
    icons: Mapping[str, Any], names: Sequence[str], words: Mapping[str, Caption]
) -> Iterator[Captioned]:
    """Every drawing with its caption; what emojibase does not know is called as its file."""
    for name in names:
        label, tags = words.get(name, Caption(name.replace("-", " "), ()))
        yield Captioned(drawn(icons, name), label, tags)


@click.command()
@click.argument("packages", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(packages: Path, folder: Path) -> None:
    """Draw the emoji of the npm packages in PACKAGES into FOLDER."""
    begun = time.monotonic()
    words = captions(packages / "emojibase-data" / "en" / "data.json")
    files = {
        style: packages / "@iconify-json" / name / "icons.json" for style, name in SETS.items()
    }
    sets = {style: json.loads(file.read_text("utf-8")) for style, file in files.items()}
    names = sorted(set.intersection(*(set(icons["icons"]) for icons in sets.values())))
    for style, icons in sets.items():
        examples = list(captioned(icons, names, words))
        write(folder / style, examples)
        if style == "flat":
            pixels = (one._replace(picture=pixelated(one.picture)) for one in examples)
            write(folder / "pixel", pixels)
        click.echo(f"{style}: {len(examples)} emoji, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
