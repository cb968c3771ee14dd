"""The measurement of one picture, with a small base on the CPU."""

from pathlib import Path

import torch

from bench.speeds import SMALL, Bed, measure, part


def test_each_way_is_measured_and_held_against_the_first(tmp_path: Path) -> None:
    bed = Bed(SMALL._replace(pixels=(64,), steps=2), torch.device("cpu"), tmp_path)
    rows = measure(bed, ["eager", "auto"], lambda _: None)
    assert [(row.speed, row.pixels, row.furthest) for row in rows] == [
        ("eager", 64, 0),
        # Nothing is recorded on a CPU, so it is the same code.
        ("auto", 64, 0),
    ]
    assert all(row.denoised > 0 and row.whole > 0 for row in rows)
    assert [row[:2] for row in part(bed, rows).rows] == [("eager", "64"), ("auto", "64")]
