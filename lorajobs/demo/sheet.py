"""A labelled sheet of pictures: a column for each style, a row for each prompt."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

CELL = 192
GAP = 12
LEFT, TOP = 150, 48
PAPER, INK = (255, 255, 255), (32, 32, 40)


def contact_sheet(
    rows: Sequence[str], columns: Sequence[str], pictures: Mapping[tuple[str, str], Image.Image]
) -> Image.Image:
    """Draws the pictures by (row, column); a missing one stays a grey field."""
    step = CELL + GAP
    size = (LEFT + step * len(columns), TOP + step * len(rows))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(18)
    for x, column in enumerate(columns):
        draw.text((LEFT + x * step + CELL // 2, TOP // 2), column, INK, font, anchor="mm")
    for y, row in enumerate(rows):
        draw.text((LEFT - GAP, TOP + y * step + CELL // 2), row, INK, font, anchor="rm")
        for x, column in enumerate(columns):
            corner = (LEFT + x * step, TOP + y * step)
            picture = pictures.get((row, column))
            if picture is None:
                draw.rectangle((*corner, corner[0] + CELL, corner[1] + CELL), (225, 225, 230))
            else:
                sheet.paste(_fitted(picture), corner)
    return sheet


def _fitted(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
