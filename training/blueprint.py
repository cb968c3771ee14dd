"""Pictures of a new style, made without any download: `python -m training.blueprint FOLDER`.

The demo base paints things that it knows, and a filter redraws each as a blueprint: pale lines
where colours change, on blue paper. Captions say nothing of the style, so the adapter has to
carry it.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageFilter

from training.captioned import Captioned, write
from training.demo import BASE, pipeline

PAPER, INK = (18, 58, 138), (226, 240, 255)
#: How much of the ink a black surface takes, so that shapes can be told from the paper.
SHADE = 0.22
STEPS = 12
GUIDANCE = 4.0
BATCH = 16
WORDS = """
red heart; grinning cat; birthday cake; rocket; house with garden; blue car; penguin; evergreen
tree; dog face; robot; crab; umbrella; pizza; ghost; crown; crying face; red apple; banana;
strawberry; watermelon; carrot; mushroom; cactus; sunflower; tulip; four leaf clover; maple leaf;
snowman; snowflake; sun; crescent moon; star; cloud; rainbow; fire; droplet; bell; gift; balloon;
trophy; soccer ball; basketball; guitar; violin; trumpet; drum; microphone; headphone; camera;
television; laptop; light bulb; candle; book; pencil; scissors; key; hammer; magnet; telescope;
rabbit face; fox; bear; panda; koala; tiger face; lion; cow face; pig face; frog; monkey face;
chicken; owl; butterfly; honeybee; snail; turtle; octopus; fish; whale; dolphin; shark; unicorn;
dragon face; hamburger; french fries; hot dog; taco; doughnut; cookie; ice cream; lollipop; hot
beverage; teapot; bicycle; bus; fire engine; tractor; locomotive; airplane; helicopter; sailboat;
anchor; castle; tent; volcano; mountain; alien; skull; jack-o-lantern; top hat; glasses; t-shirt;
running shoe; backpack; handbag; gem stone; ring; alarm clock; hourglass; envelope; package
"""


def blueprint(picture: Image.Image) -> Image.Image:
    """The picture redrawn in the style, of the same size."""
    colours = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    across = np.diff(colours, axis=1, prepend=colours[:, :1])
    down = np.diff(colours, axis=0, prepend=colours[:1])
    edges = np.sqrt((across**2 + down**2).sum(axis=2))
    lines = Image.fromarray((255 * np.clip(2.2 * edges, 0, 1)).astype(np.uint8))
    lines = lines.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(0.6))
    # What is fainter is noise of the picture, not a line.
    line = np.clip(1.3 * np.asarray(lines, dtype=np.float32) / 255 - 0.12, 0, 1)
    ink = np.maximum(line, SHADE * (1 - colours.mean(axis=2)))[..., None]
    drawn = np.array(PAPER) * (1 - ink) + np.array(INK) * ink
    return Image.fromarray(drawn.round().astype(np.uint8))


def painted(words: Sequence[str], seed: int) -> Iterator[Captioned]:
    """A picture by the demo base of each word, with word *i* from `seed + i`."""
    pipe = pipeline(BASE)
    for start in range(0, len(words), BATCH):
        batch = list(words[start : start + BATCH])
        noise = [torch.Generator().manual_seed(seed + start + i) for i in range(len(batch))]
        made = pipe(batch, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=noise)
        yield from (Captioned(*pair) for pair in zip(made.images, batch, strict=True))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), help="Only the first so many words.")
@click.option("--seed", default=1000, show_default=True)
def main(folder: Path, count: int | None, seed: int) -> None:
    """Write blueprints of things, with captions, into FOLDER."""
    begun = time.monotonic()
    words = [" ".join(word.split()) for word in WORDS.split(";")][:count]
    styled = (Captioned(blueprint(made.picture), made.text) for made in painted(words, seed))
    number = write(folder, styled)
    click.echo(f"{number} pictures with captions in {folder}, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
