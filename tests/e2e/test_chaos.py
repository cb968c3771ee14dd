"""The chaos command, short: kills of every kind under load lose nothing."""

import json
import subprocess
import sys
from pathlib import Path

from tests.services.leash import leashed

ROOT = Path(__file__).parents[2]
#: A round: every kind once at least.
KILLS = 13


def test_a_round_of_kills_loses_nothing() -> None:
    # Leashed, so that it cannot outlive this run.
    argv = leashed([sys.executable, "-m", "bench.chaos", "--kills", str(KILLS)])
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["kills"] == KILLS == sum(report["faults"].values())
    # Every kind came up, and there was work to lose.
    assert len(report["faults"]) == 8
    assert report["terminal"] >= report["accepted"] > KILLS
    assert report["cuts"] > 0
