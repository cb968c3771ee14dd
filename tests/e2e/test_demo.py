"""`lorajobs demo`, what `make demo` runs: the whole group, 16 jobs over HTTP, a sheet, a report."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

PROMPTS, STYLES = 4, 4
FIELDS = [
    *("id", "prompt", "loras", "seed", "status", "file", "sha256"),
    *("queue_s", "swap_s", "generate_s", "upload_s"),
]


def test_the_demo_makes_what_it_promises(tmp_path: Path) -> None:
    out = tmp_path / "demo-out"
    done = subprocess.run(
        [sys.executable, "-m", "lorajobs", "demo", "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    jobs = report["jobs"]
    assert len(jobs) == PROMPTS * STYLES
    assert all(list(job) == FIELDS for job in jobs)
    assert {job["status"] for job in jobs} == {"succeeded"}
    for job in jobs:
        assert hashlib.sha256((out / job["file"]).read_bytes()).hexdigest() == job["sha256"]
    assert len({job["sha256"] for job in jobs}) == len(jobs)
    # Three styles besides the base; in order it would be 15. A worker that is warm before the last
    # job is submitted may need a few more.
    assert STYLES - 1 <= report["swaps"] <= 2 * STYLES
    assert 0 < report["wall_s"] < 280
    with Image.open(out / "sheet.png") as sheet:
        assert min(sheet.size) > PROMPTS * 128
    assert "the first picture came" in done.stdout
