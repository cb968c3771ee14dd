"""The measurement of bases that come and go, with a small one on the CPU."""

from pathlib import Path

import torch

from bench.bases import measure
from bench.speeds import SMALL, Bed


def test_each_way_is_measured_and_nothing_differs_afterwards(tmp_path: Path) -> None:
    scale = SMALL._replace(pixels=(64,), steps=1)
    made = measure(Bed(scale, torch.device("cpu"), tmp_path), lambda _: None)
    assert {goal.what: goal.reached for goal in made.goals} == {
        "weights that differ": 0,
        "pictures that differ": 0,
        "addresses that differ": 0,
        "recordings that differ": 0,
    }
    assert [row[0].partition(" (")[0] for row in made.rows] == [
        "read the files",
        "load it, never to be parked",
        "load it, to be parked",
        "the same for the first time",
        "U-Net from host memory",
        "whole base from host memory",
        "the same, the device freed before",
    ]
    assert all(float(row[1]) > 0 and float(row[2]) >= 0 for row in made.rows)
