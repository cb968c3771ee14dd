"""The measurement of the worker runs: a small base, real processes, no judgement of its times."""

import io
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from bench.timed_workers import turns_of
from bench.turns import read
from bench.worker import PICTURE, TURNS, WAYS, run
from bench.worker_bed import SMALL, Bed
from tests.services.nvidia_smi import nvidia_smi, row


@pytest.mark.filterwarnings(r"ignore::UserWarning:peft\..*")
def test_every_way_on_a_small_base(tmp_path: Path) -> None:
    out = io.StringIO()
    assert run(SMALL, WAYS, tmp_path, Console(file=out, width=250)) == []
    last = json.loads(out.getvalue().splitlines()[-1])
    rows = {name: last[f"{name}_128"] for name in WAYS}
    assert [row["placement"] for row in rows.values()] == ["host", "", ""]
    assert [row["jobs"] for row in rows.values()] == [SMALL.jobs, SMALL.theirs, SMALL.best]
    assert all(0 < row["busy_calls"] <= row["busy"] < 1 for row in rows.values())
    expected = rows["ours"]["images_per_s"] / rows["usual"]["images_per_s"]
    assert rows["ours"]["ratio"] == pytest.approx(expected, rel=0.01)
    assert all(last[f"answer_{need}"]["count"] == 1 for need in ("unseen", "host", "loaded"))
    between = [f["count"] for name, f in last.items() if name.startswith("gap_")]
    assert sum(between) == SMALL.jobs - 1
    with Image.open(tmp_path / PICTURE) as image:
        assert image.size == (1280, 800)
    # Single jobs, one before the burst, the burst.
    turns = read(tmp_path / TURNS)
    assert len(turns) == 4 + 1 + SMALL.jobs
    for turn in turns:
        kinds = Counter(span.kind for span in turn.spans)
        assert (kinds["denoise"], kinds["decode"]) == (SMALL.steps, 1)
    assert all(one.end <= other.begin for one, other in pairwise(turns))


def test_the_same_burst_on_each_number_of_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver only lists them; the workers compute on the CPU.
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", [row(0), row(1)]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    out = io.StringIO()
    scale = SMALL._replace(jobs=6)
    run(scale, ["ours"], tmp_path, Console(file=out, width=250), gpus=[2])
    figures = json.loads(out.getvalue().splitlines()[-1])["ours_128_2gpus"]
    assert (figures["gpus"], figures["jobs"], len(figures["busy_each"])) == (2, 6, 2)
    made = [read(turns_of(tmp_path / TURNS, gpu)) for gpu in (0, 1)]
    # Each was warmed up by a job at least.
    assert all(made)
    assert sum(map(len, made)) >= 6 + 2
    seeds = [turn.seed for lane in made for turn in lane]
    assert len(set(seeds)) == len(seeds)


def test_jobs_are_drawn_alike_and_numbered_apart(tmp_path: Path) -> None:
    bed = Bed(SMALL, tmp_path)
    drawn = bed.wishes(50, 128), bed.wishes(50, 128)
    assert [w.adapter for w in drawn[0]] == [w.adapter for w in drawn[1]]
    assert len({wish.seed for wishes in drawn for wish in wishes}) == 100
    most, *_, least = Counter(wish.adapter for wish in drawn[0]).most_common()
    assert most[0] == bed.names[0]
    assert most[1] > 2 * least[1]
