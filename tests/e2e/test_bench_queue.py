"""The measurement of the queue runs: small, through real processes, without judging its times."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from bench.celery_burst import run_burst
from bench.queue import PARTS, PICTURE, Scale, main, run
from bench.simulation import Costs
from bench.timetable import overtakes, swaps

TINY = Scale(
    seeds=1,
    jobs=20,
    fair_seeds=1,
    flood=50,
    loads=(10,),
    workers=(2,),
    capacity_seeds=1,
    hours=0.5,
    depths=(50, 100),
    claims=20,
)


def test_a_tiny_run_says_everything(tmp_path: Path) -> None:
    out = io.StringIO()
    names = [name for name in PARTS if name != "celery"]
    goals = run(names, TINY, tmp_path, Console(file=out, width=200))
    last = json.loads(out.getvalue().splitlines()[-1])
    assert set(last) == {*names, "targets", "seconds"}
    assert len(last["targets"]) == len(goals) >= len(names)
    assert [depth["waiting"] for depth in last["claims"]["depths"]] == [50, 100]
    with Image.open(tmp_path / PICTURE) as image:
        assert image.size == (1280, 800)


def test_a_burst_through_celery(tmp_path: Path) -> None:
    runs = run_burst(tmp_path, window_s=10, jobs=12, costs=Costs("tiny", 10, 5))
    assert len(runs) == 12
    assert len({run.worker for run in runs}) <= 2
    groups = {run.group for run in runs}
    assert len(groups) <= swaps(runs) <= len(groups) + 1
    assert all(run.swap_ms >= 5 for run in runs if run.swap_ms)
    assert overtakes(runs, 10) == 0


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "there is no part 'speed'; there are simulation," in capsys.readouterr().err
