"""What becomes of the figures: capacity, targets, the chart."""

from pathlib import Path

import pytest
from PIL import Image

from bench.capacity import is_flat, simulate
from bench.chart import COLORS, FRAME, PANEL, Axis, Panel, Series, draw
from bench.comparison import OURS, compare
from bench.policies import FIFO
from bench.report import at_least, at_most, spread


def test_a_backlog_is_flat_if_it_does_not_grow() -> None:
    assert is_flat([0, 3, 1] * 100)
    assert not is_flat(list(range(300)))


def test_enough_workers_keep_the_backlog_flat_and_too_few_do_not() -> None:
    assert simulate(OURS, 20, workers=3, seed=1, hours=0.5).flat
    few = simulate(FIFO, 60, workers=2, seed=1, hours=1)
    assert not few.flat
    assert few.swaps_per_job > simulate(OURS, 60, workers=2, seed=1, hours=1).swaps_per_job


def test_the_comparison_meets_its_targets_on_few_seeds() -> None:
    part = compare(seeds=2)
    assert [goal.what for goal in part.goals if not goal.met] == []
    assert len(part.rows) == len(part.figures["rows"]) == 16


def test_goals_say_whether_they_are_met() -> None:
    assert at_most("x", 11, 11).met
    assert not at_most("x", 12, 11).met
    assert at_least("x", 0.5, 0.5).met
    assert not at_least("x", 0.49, 0.5).met
    assert at_least("x", 0.49, 0.5).target == "≥ 0.5"


def test_a_spread_is_left_out_where_there_is_none() -> None:
    assert spread([3, 1, 2]) == "2 (1–3)"
    assert spread([1.01, 1.02], 1) == "1.0"


@pytest.mark.parametrize(("log", "low"), [(False, 0.0), (True, 0.1)])
def test_an_axis_ends_at_round_values(log: bool, low: float) -> None:
    _, top, _, bottom = FRAME
    axis = Axis(Panel("", "", ["a", "b"], [Series("s", [0.2, 70.0])], log=log))
    ends = (axis.ticks[0], axis.ticks[-1])
    assert list(ends) == pytest.approx([low, 100 if log else 80])
    assert list(map(axis.y, ends)) == pytest.approx([bottom, top])


def test_bars_and_lines_are_drawn_where_their_values_are(tmp_path: Path) -> None:
    series = [Series("s", [10.0, None])]
    panels = [Panel("t", "x", ["a", "b"], series, lines=lines) for lines in (False, True)]
    draw(panels, tmp_path / "new" / "plot.png")
    left, _, right, bottom = FRAME
    with Image.open(tmp_path / "new" / "plot.png") as image:
        assert image.size == (2 * PANEL[0], PANEL[1])
        # Beside the middle of the first place there is a bar, but of a line only its point.
        x, y = left + (right - left) // 4 + 20, bottom - 20
        bar, background = image.getpixel((x, y)), image.getpixel((PANEL[0] + x, y))
        point = image.getpixel((PANEL[0] + x - 20, int(Axis(panels[1]).y(10.0))))
    assert bar == point == tuple(bytes.fromhex(COLORS[0][1:]))
    assert background == (255, 255, 255)
