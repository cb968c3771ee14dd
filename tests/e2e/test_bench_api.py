"""The measurement of the API runs: small, through real processes, without judging its times."""

import io
import json

from rich.console import Console

from bench.api import Scale, run

TINY = Scale(rounds=1, seconds=0.2, listeners=10, steps=2)


def test_a_tiny_run_says_everything() -> None:
    out = io.StringIO()
    goals = run(TINY, None, Console(file=out, width=200))
    last = json.loads(out.getvalue().splitlines()[-1])
    assert set(last) == {"polls", "listeners", "submits", "worker_class", "targets", "seconds"}
    assert len(last["targets"]) == len(goals) == 4
    assert last["polls"]["polls_per_s"] > 0
    assert last["submits"]["submits_per_s"] > 0
    listeners = last["listeners"]
    assert listeners["listeners"] == 10
    assert 0 < listeners["events_ms_alone"]["p50"] <= listeners["events_ms_alone"]["most"]
