"""The device that workers of this machine would compute on."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.settings import Settings

#: Seconds; PyTorch may come from a cold disk, and a driver that is not kept loaded takes its time.
WITHIN_S = 120.0
_REPORT = (sys.executable, "-m", "lorajobs.engine.device_report")
_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def device(settings: Settings) -> Iterator[Finding]:
    """Whether PyTorch is here and computes on a GPU."""
    if importlib.util.find_spec("torch") is None:
        text = "PyTorch is not installed, so no worker can run here"
        yield warning(text, "on machines with workers: `pip install 'lorajobs[worker]'`")
        return
    try:
        told = _report(settings)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        yield wrong(f"PyTorch cannot be asked: {error}", "install torch anew, for this driver")
        return
    yield from judged(settings, told, _driver())


def judged(settings: Settings, told: dict[str, Any], driver: str) -> Sequence[Finding]:
    """What is to be said of PyTorch's report and NVIDIA's driver, empty if there is none."""
    if not told["gpus"]:
        return [_without(settings, told, driver)]
    return [*(_gpu(n, gpu, driver) for n, gpu in enumerate(told["gpus"])), _triton(told)]


def _report(settings: Settings) -> dict[str, Any]:
    asked = subprocess.run(
        _REPORT,
        env=settings.environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S - 5,
    )
    if asked.returncode:
        last = (asked.stderr.strip() or "it says nothing").splitlines()[-1]
        raise ValueError(f"exit status {asked.returncode}: {last}")
    found: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    return found


def _driver() -> str:
    """The version of NVIDIA's driver, empty if there is none."""
    if shutil.which(_DRIVER[0]) is None:
        return ""
    try:
        asked = subprocess.run(_DRIVER, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.split("\n")[0].strip() if asked.returncode == 0 else ""


def _gpu(number: int, gpu: dict[str, Any], driver: str) -> Finding:
    told = f"GPU {number}: {gpu['name']}, driver {driver or 'unknown'}"
    if not gpu["computes"]:
        text = f"{told} does not compute: {gpu.get('error', 'a wrong sum')}"
        return wrong(text, "look at `nvidia-smi -q` and `dmesg`; a torch for this driver may help")
    free, total = gpu["free"] / 2**30, gpu["total"] / 2**30
    return ok(f"{told}, {free:.1f} of {total:.1f} GiB free, computes")


def _triton(told: dict[str, Any]) -> Finding:
    versions = f"torch {told['torch']} with CUDA {told['cuda']}"
    if told["triton"]:
        return ok(f"{versions}, Triton {told['triton']}")
    text = f"{versions}, but no Triton: adapters are fused by slower code"
    return warning(text, "`pip install triton`")


def _without(settings: Settings, told: dict[str, Any], driver: str) -> Finding:
    asked, versions = settings.device or "", f"torch {told['torch']}"
    if asked.startswith("cuda"):
        way_out = "install the driver, or unset LORAJOBS_DEVICE"
        return wrong(f"LORAJOBS_DEVICE={asked}, but {versions} finds no GPU", way_out)
    if asked == "cpu" or settings.cuda_visible_devices == "":
        return ok(f"{versions}, on the CPU as the settings say")
    if driver:
        text = f"the driver ({driver}) is here, but {versions} finds no GPU"
        return wrong(text, "install a torch with CUDA for this driver (pytorch.org/get-started)")
    if told["mps"]:
        return ok(f"{versions}, on Apple's GPU")
    text = f"no GPU: {versions} computes on the CPU, which takes minutes for a picture"
    return warning(text, "good for the demo; for more, run workers on a machine with a GPU")
