"""What makes a loaded base denoise faster, as its entry says: CUDA graphs, compiled code."""

import logging
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from lorajobs.catalog import ModelEntry
from lorajobs.engine.attention import attend
from lorajobs.engine.compiled import CompiledCode, compiled_code
from lorajobs.engine.graphs import Graphs
from lorajobs.engine.placement import GPU_WORKING_BYTES, Placement
from lorajobs.engine.racks import free_memory

log = logging.getLogger(__name__)

#: Shapes that each compiled function is made for, before it runs as it was written.
COMPILED_SHAPES = 32


def kept_code(base: str, speed: str, device: torch.device, data_dir: Path) -> CompiledCode | None:
    """What earlier processes compiled for this base; None if this one compiles nothing."""
    if device.type != "cuda" or speed in ("auto", "eager"):
        return None
    return compiled_code(data_dir, device, base)


def quicken(
    pipe: DiffusionPipeline,
    device: torch.device,
    entry: ModelEntry,
    placement: str,
    budget: int,
    code: CompiledCode | None = None,
) -> Graphs | None:
    """Records the denoiser's steps from now on, and compiles it if the entry's `speed` says so.

    Its `attention` is chosen too. `budget` is in bytes, `code` what need not be compiled again.
    None where there is nothing to record: off CUDA, when eager is asked for, and with PEFT's
    layers, whose weights come and go. Raises: BaseLoadFailed if the attention cannot be.
    """
    speed = entry.speed
    denoiser: Any = pipe.components.get("unet") or pipe.components.get("transformer")
    if denoiser is None:
        return None
    is_recorded = device.type == "cuda" and speed != "eager" and placement != Placement.UNFUSED
    if is_recorded and speed != "auto":
        if code:
            code.load()
        _compile(pipe, denoiser, whole=speed == "full")
    # Around compiled code, and inside of what is recorded.
    attend(denoiser, device, entry.attention)
    if not is_recorded:
        return None
    from lorajobs.engine.cuda_recorder import CudaRecorder

    free = free_memory(device).gpu or 0
    # A decode and the staging of adapters come first.
    budget = max(0, min(budget, free - GPU_WORKING_BYTES // 2))
    graphs = Graphs(denoiser.forward, CudaRecorder(device), device, budget)
    denoiser.forward = graphs
    log.info("steps: recorded as CUDA graphs within %d MiB, %s", budget >> 20, _code(speed))
    return graphs


def _compile(pipe: DiffusionPipeline, denoiser: Any, *, whole: bool) -> None:  # noqa: ANN401
    # Each shape gets code of its own, which is faster than code for any shape.
    torch._dynamo.config.cache_size_limit = COMPILED_SHAPES
    if whole or not getattr(denoiser, "_repeated_blocks", None):
        denoiser.forward = torch.compile(denoiser.forward, fullgraph=True, dynamic=False)
    else:
        denoiser.compile_repeated_blocks(fullgraph=True, dynamic=False)
    if "vae" in pipe.components:
        pipe.vae.decode = torch.compile(pipe.vae.decode, dynamic=False)


def _code(speed: str) -> str:
    return {"auto": "eager", "regional": "repeated blocks compiled"}.get(speed, "compiled")
