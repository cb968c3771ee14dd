"""The measurement of the scale runs: small, on a real Valkey, without judging its times."""

import json
from pathlib import Path

import pytest
from PIL import Image

from bench.commands import Load
from bench.scale import PICTURE, main


def test_a_quick_run_says_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "crowd", "memory", "--out", str(tmp_path)])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"crowd", "memory", "targets", "seconds"}
    ours, fifo = last["crowd"]["rows"]
    assert (ours["policy"], fifo["policy"]) == ("ours, 10 s", "FIFO")
    for row in (ours, fifo):
        assert row["jobs"] == 40
        # Submit, claim, progress, renewals, finish.
        assert row["scripts_per_job"] > 10
        assert row["commands_per_job"] > row["scripts_per_job"]
        assert 0 < row["claim_p50_ms"] <= row["claim_p99_ms"]
    assert ours["swaps_per_job"] <= fifo["swaps_per_job"] <= 1
    assert 0 < last["memory"]["without_events"] < last["memory"]["ended"]
    assert last["memory"]["waiting"] > 500
    with Image.open(tmp_path / PICTURE) as image:
        assert image.size == (1280, 800)


def test_what_the_server_did_less_what_it_does_anyway() -> None:
    busy = Load({"get": 10, "evalsha": 4, "eval": 1}, 50)
    rest = busy.less(Load({"get": 3, "set": 2}, 10), 2)
    assert rest == Load({"get": 4, "set": 0, "evalsha": 4, "eval": 1}, 30)
    assert (rest.all, rest.scripts) == (9, 5)


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "there is no part 'speed'; there are crowd," in capsys.readouterr().err
