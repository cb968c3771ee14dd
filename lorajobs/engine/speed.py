"""What makes a loaded base denoise faster, as its entry says: CUDA graphs, compiled code."""

import logging
from typing import Any

import torch
from diffusers import DiffusionPipeline

from lorajobs.engine.graphs import Graphs
from lorajobs.engine.placement import GPU_WORKING_BYTES, Placement

log = logging.getLogger(__name__)

#: Shapes that each compiled function is made for, before it runs as it was written.
COMPILED_SHAPES = 32


def quicken(
    pipe: DiffusionPipeline, device: torch.device, speed: str, placement: str, budget: int
) -> Graphs | None:
    """Records the denoiser's steps from now on, and compiles it if `speed` says so.

    `speed` is that of a catalog entry, `budget` in bytes. None where there is nothing to record:
    off CUDA, when eager is asked for, and with PEFT's layers, whose weights come and go.
    """
    if device.type != "cuda" or speed == "eager" or placement == Placement.UNFUSED:
        return None
    denoiser: Any = pipe.components.get("unet") or pipe.components.get("transformer")
    if denoiser is None:
        return None
    if speed != "auto":
        _compile(pipe, denoiser, whole=speed == "full")
    from lorajobs.engine.cuda_recorder import CudaRecorder

    free, _ = torch.cuda.mem_get_info(device)
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
