"""A GPU's utilisation as the program tells it, here a script of that name."""

import os
import time
from pathlib import Path

import pytest

from bench.nvidia_smi import NvidiaSmi

SAMPLES = "#!/bin/sh\necho 0, 40\necho '1, [N/A]'\necho 1, 10\necho 0, 80\nexec sleep 60\n"


def test_samples_count_within_the_time_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(SAMPLES)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    begun, deadline = time.time(), time.monotonic() + 20
    with NvidiaSmi() as smi:
        while smi.mean(begun, time.time()) != 0.6:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert smi.mean(0, begun) is None
        assert smi.mean(begun, time.time(), gpus=2) == pytest.approx(1.3 / 3)


def test_without_the_program_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with NvidiaSmi() as smi:
        assert smi.mean(0, time.time()) is None
