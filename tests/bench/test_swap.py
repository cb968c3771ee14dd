"""The benchmark of swaps, whole, on the CPU with a small base."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench import swap
from bench.swap_bed import SMALL

QUICK = SMALL._replace(times=2, swaps=12, their_times=1)


@pytest.mark.filterwarnings(r"ignore::UserWarning:peft\..*")
def test_every_part_on_a_small_base(tmp_path: Path) -> None:
    text = io.StringIO()
    goals = swap.run(QUICK, torch.device("cpu"), tmp_path, Console(file=text, width=200))
    last = json.loads(text.getvalue().splitlines()[-1])
    for rank in (16, 64):
        assert last[f"host_ms_r{rank}"] > 0
        assert last[f"file_ms_r{rank}"] > 0
        expected = last[f"usual_ms_r{rank}"] / last[f"file_ms_r{rank}"]
        assert last[f"file_ratio_r{rank}"] == pytest.approx(expected, rel=0.01)
    assert (last["exact"], last["pointers_moved"], last["swaps"]) == (1, 0, 12)
    # diffusers' own way does not leave the base as it was.
    assert last["base_changed"] == 1
    assert len(last["targets"]) == len(goals) > 10
    assert (tmp_path / swap.PICTURE).stat().st_size > 5000
