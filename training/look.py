"""Looks at an adapter through the engine that serves it: `python -m training.look FILE FOLDER`.

Paints things that FOLDER, the adapter's pictures, has none of: with the base alone, with the
adapter at two scales, and with the adapter beside another one.
"""

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image

from lorajobs import offline
from lorajobs.catalog import Catalog
from lorajobs.demo.sheet import contact_sheet
from lorajobs.settings import Settings
from training.captioned import read

PROMPTS = ("elephant", "lemon", "motorcycle", "school")
SEED = 7
#: Of a sheet in a document.
COLOURS = 96


class Colours(NamedTuple):
    """Mean colours, red, green and blue in 0…1: of the style, the base alone, with the adapter."""

    style: np.ndarray
    base: np.ndarray
    adapter: np.ndarray

    @property
    def base_off(self) -> float:
        """How far the base alone is from the style."""
        return float(np.linalg.norm(self.base - self.style))

    @property
    def adapter_off(self) -> float:
        """How far the adapter is from it."""
        return float(np.linalg.norm(self.adapter - self.style))


def mean_colour(pictures: Sequence[Image.Image]) -> np.ndarray:
    """The mean of all pixels of all pictures."""
    values = [np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in pictures]
    mean: np.ndarray = np.mean([value.mean(axis=(0, 1)) for value in values], axis=0) / 255
    return mean


def columns(file: Path) -> Mapping[str, Sequence[Mapping[str, object]]]:
    """The adapters of each column of the sheet."""
    path, name = str(file.resolve()), file.stem
    return {
        "base alone": [],
        f"{name} 0.5": [{"path": path, "scale": 0.5}],
        f"{name} 1": [{"path": path, "scale": 1.0}],
        f"{name} 0.8, pixel 0.6": [{"path": path, "scale": 0.8}, {"id": "pixel", "scale": 0.6}],
    }


def painted(file: Path, prompts: Sequence[str]) -> Mapping[tuple[str, str], Image.Image]:
    """A picture of each prompt in each column.

    Raises: RequestError, AttemptError if the adapter is refused.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), lora_roots=(file.resolve().parent,))
        catalog = Catalog.load(None)
        for column, loras in columns(file).items():
            for prompt in prompts:
                asked = {"model": "demo", "prompt": prompt, "seed": SEED, "loras": loras}
                made = offline.make(asked, settings, catalog, lambda what, step, steps: None)
                ((picture, _),) = made.pictures
                found[prompt, column] = Image.open(io.BytesIO(picture.data))
    return found


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", default="sheet.png", type=click.Path(dir_okay=False, path_type=Path))
def main(file: Path, folder: Path, out: Path) -> None:
    """Paint with the adapter in FILE; exit 1 if its colours are not those of FOLDER."""
    made = painted(file, PROMPTS)
    alone, _, whole, _ = names = list(columns(file))
    sheet = contact_sheet(PROMPTS, names, made)
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)
    colours = Colours(
        mean_colour([example.picture for example in read(folder)]),
        mean_colour([made[prompt, alone] for prompt in PROMPTS]),
        mean_colour([made[prompt, whole] for prompt in PROMPTS]),
    )
    for name, colour in colours._asdict().items():
        click.echo(f"{name:8} mean colour " + " ".join(f"{part:.2f}" for part in colour))
    click.echo(f"off the style: {colours.base_off:.2f} alone, {colours.adapter_off:.2f} with it")
    click.echo(f"look at {out}")
    if colours.adapter_off > colours.base_off / 2:
        raise click.ClickException("the colours of the style were not learned")


if __name__ == "__main__":
    main()
