"""A process that may take only so much of the GPU: which placement it gets, and what that costs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from bench import sdxl
from bench.report import Part
from bench.rival import Clock


def limited(gigabytes: int, file: Path) -> Part:
    """Runs `main` in a process of its own."""
    command = [sys.executable, "-m", "bench.swap_memory", str(gigabytes), str(file)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    figures = {f"{name}_{gigabytes}gb": value for name, value in measured.items()}
    rows = [(name, f"{value}") for name, value in figures.items()]
    return Part(f"With {gigabytes} GB", ("figure", ""), rows, figures)


def main(gigabytes: float, file: Path) -> None:
    """A base, one adapter on and off, a step and a decode within the limit; prints JSON."""
    device = torch.device("cuda", 0)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / total, device)
    pipe = sdxl.pipeline(sdxl.FULL, device, torch.float16)
    before = {name: weight.cpu() for name, weight in pipe.unet.named_parameters()}
    from lorajobs.engine.racks import open_rack

    rack = open_rack(pipe, device, "auto", 2 << 30)
    clock = Clock(device, 10)
    adapter, other = sdxl.local(file, 0.5), sdxl.local(file, 0.7)
    turns = [adapter, other]

    def swap() -> None:
        turns.reverse()
        rack.activate(turns[:1])

    swap_ms = clock.ms(swap)
    inputs = sdxl.step_inputs(pipe, sdxl.FULL)
    latents = torch.randn(1, 4, 128, 128, device=device, dtype=torch.float16)
    with torch.inference_mode():
        step_ms = clock.ms(lambda: pipe.unet(**inputs).sample)
        pipe.vae.decode(latents)

    def leave() -> None:
        rack.activate([])

    def timed() -> float:
        rack.activate([adapter])
        return clock.once(leave)

    restore_ms = 1000 * sorted(timed() for _ in range(10))[5]
    leave()
    print(
        json.dumps(
            {
                "placement": rack.placement.value,
                "swap_ms": round(swap_ms, 2),
                "restore_ms": round(restore_ms, 2),
                "step_ms": round(step_ms, 2),
                "peak_gb": round(torch.cuda.max_memory_reserved(device) / 1e9, 2),
                "exact": all(
                    torch.equal(weight.cpu(), before[name])
                    for name, weight in pipe.unet.named_parameters()
                ),
            }
        )
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
