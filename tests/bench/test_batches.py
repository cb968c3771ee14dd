"""The measurement of batches, with a small base on the CPU."""

from pathlib import Path

import torch

from bench.batches import measure, part
from bench.speeds import SMALL, Bed


def test_together_and_alone_are_held_against_each_other(tmp_path: Path) -> None:
    bed = Bed(SMALL._replace(pixels=(64,), steps=2), torch.device("cpu"), tmp_path)
    row = measure(bed.engine("auto"), bed.spec(64, 0).model_copy(update={"num_images": 2}))
    assert (row.pixels, row.pictures) == (64, 2)
    assert list(row.chosen) in ([2], [1, 1])
    # Of noise that a base of random weights makes, in single precision.
    assert row.furthest <= 1
    made = part([row])
    assert [len(cells) for cells in made.rows] == [len(made.columns)]
