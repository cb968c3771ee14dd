"""Bars and lines in panels on one picture, drawn with Pillow."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

PANEL = (640, 400)
#: Left, top, right and bottom of what is drawn inside a panel.
FRAME = (70, 60, 620, 320)
COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")
INK, GRID = "#202020", "#e0e0e0"
_FONT = ImageFont.load_default(13)
_TITLE = ImageFont.load_default(16)


class Series(NamedTuple):
    """A value for each place on the x axis, None where there is none."""

    name: str
    values: Sequence[float | None]


class Panel(NamedTuple):
    """Series over the same places, as bars or as lines."""

    title: str
    x: str
    places: Sequence[str]
    series: Sequence[Series]
    lines: bool = False
    #: for values of very different size; they must be above 0
    log: bool = False


class Axis:
    """Where a value is drawn."""

    def __init__(self, panel: Panel) -> None:
        values = [v for series in panel.series for v in series.values if v is not None]
        most = max(values, default=1.0) or 1.0
        self._log = panel.log
        if panel.log:
            self._low = 10.0 ** math.floor(math.log10(min(values)))
            self._high = 10.0 ** math.ceil(math.log10(most * 1.01))
        else:
            step = _step(most)
            self._low, self._high = 0.0, step * math.ceil(most / step)
        self.ticks = self._decades() if panel.log else self._steps(_step(most))

    def _decades(self) -> Sequence[float]:
        count = round(math.log10(self._high / self._low))
        return [self._low * 10**power for power in range(count + 1)]

    def _steps(self, step: float) -> Sequence[float]:
        return [step * number for number in range(round(self._high / step) + 1)]

    def y(self, value: float) -> float:
        """From the top of the panel, pixels."""
        _, top, _, bottom = FRAME
        if self._log:
            share = math.log(value / self._low) / math.log(self._high / self._low)
        else:
            share = value / self._high
        return bottom - share * (bottom - top)


def draw(panels: Sequence[Panel], path: Path, columns: int = 2) -> None:
    """Writes a PNG of all panels, row by row."""
    width, height = PANEL
    rows = math.ceil(len(panels) / columns)
    image = Image.new("RGB", (width * min(columns, len(panels)), height * rows), "white")
    for number, panel in enumerate(panels):
        corner = (number % columns * width, number // columns * height)
        image.paste(_picture(panel), corner)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _picture(panel: Panel) -> Image.Image:
    image = Image.new("RGB", PANEL, "white")
    pen = ImageDraw.Draw(image)
    axis = Axis(panel)
    left, top, right, bottom = FRAME
    pen.text((left, 10), panel.title, INK, _TITLE)
    for tick in axis.ticks:
        pen.line((left, axis.y(tick), right, axis.y(tick)), GRID)
        pen.text((left - 8, axis.y(tick)), f"{tick:g}", INK, _FONT, anchor="rm")
    slot = (right - left) / len(panel.places)
    centers = [left + slot * (number + 0.5) for number in range(len(panel.places))]
    for place, center in zip(panel.places, centers, strict=True):
        pen.text((center, bottom + 6), place, INK, _FONT, anchor="mt")
    pen.text(((left + right) / 2, bottom + 26), panel.x, INK, _FONT, anchor="mt")
    (_lines if panel.lines else _bars)(pen, panel, axis, centers, slot)
    pen.line((left, top, left, bottom, right, bottom), INK)
    _legend(pen, panel)
    return image


def _bars(
    pen: ImageDraw.ImageDraw, panel: Panel, axis: Axis, centers: Sequence[float], slot: float
) -> None:
    width = 0.8 * slot / len(panel.series)
    for number, series in enumerate(panel.series):
        for center, value in zip(centers, series.values, strict=True):
            if value is None:
                continue
            x = center + (number - len(panel.series) / 2) * width
            y = axis.y(value)
            pen.rectangle((x, y, x + width - 2, FRAME[3]), COLORS[number])
            pen.text((x + width / 2, y - 2), _short(value), INK, _FONT, anchor="mb")


def _lines(
    pen: ImageDraw.ImageDraw, panel: Panel, axis: Axis, centers: Sequence[float], slot: float
) -> None:
    for number, series in enumerate(panel.series):
        points = [
            (center, axis.y(value))
            for center, value in zip(centers, series.values, strict=True)
            if value is not None
        ]
        pen.line(points, COLORS[number], 2)
        for x, y in points:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), COLORS[number])


def _legend(pen: ImageDraw.ImageDraw, panel: Panel) -> None:
    x, y = float(FRAME[0]), 36
    for number, series in enumerate(panel.series):
        pen.rectangle((x, y, x + 10, y + 10), COLORS[number])
        pen.text((x + 15, y + 5), series.name, INK, _FONT, anchor="lm")
        x += 30 + pen.textlength(series.name, _FONT)


def _short(value: float) -> str:
    """Three digits, or all that are before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _step(most: float) -> float:
    """A round distance of about five ticks."""
    rough = most / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
