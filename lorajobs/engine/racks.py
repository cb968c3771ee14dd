"""Chooses how a loaded base takes adapters, and says so."""

import logging

import psutil
import torch
from diffusers import DiffusionPipeline

from lorajobs.engine.arena import Arena, twin_bytes, why_not_fusable
from lorajobs.engine.fuse import BatchedFuser, Fuser
from lorajobs.engine.host_cache import HostCache
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.lora_weights import Reader
from lorajobs.engine.packer import Packer
from lorajobs.engine.placement import HOST_WORKING_BYTES, Memory, Placement, choose
from lorajobs.engine.pool import Pool
from lorajobs.engine.rack import Rack
from lorajobs.engine.unfused import UnfusedRack

log = logging.getLogger(__name__)


def open_rack(
    pipe: DiffusionPipeline, device: torch.device, placement: str, cache_bytes: int
) -> Rack:
    """A rack for a pipeline without adapters that lies on `device`.

    `placement` is `auto` or one of `Placement`. Raises: BaseLoadFailed.
    """
    reader = Reader(pipe)
    into = reader.targets
    components = {name: getattr(pipe, name) for name in into}
    why_not = why_not_fusable(components)
    needed = 0 if why_not else twin_bytes(components)
    where = choose(placement, why_not, needed, free_memory(device))
    log.info("adapters: placement %s, W0 %.2f GB%s", where, needed / 1e9, _because(why_not))

    if where is Placement.UNFUSED:
        return UnfusedRack(pipe, into, reader.read)
    arena = Arena.of(components, twin_on_host=where is Placement.HOST)
    if device.type == "cuda":
        # What the weights lay in before: other processes may want it, and so may large blocks.
        torch.cuda.empty_cache()
    packer = Packer(reader, arena, pool_for(device, cache_bytes))
    return InPlaceRack(arena, fuser_for(arena, device), HostCache(cache_bytes), packer, where)


def fuser_for(arena: Arena, device: torch.device) -> Fuser:
    """The single-pass kernel on a CUDA device that has Triton, else the batched reference."""
    if device.type == "cuda":
        try:
            from lorajobs.engine.fuse_triton import TritonFuser
        except ImportError as error:
            log.warning("adapters: Triton is not here, so swaps take longer: %s", error)
        else:
            return TritonFuser(arena)
    return BatchedFuser(arena)


def pool_for(device: torch.device, cache_bytes: int) -> Pool:
    """Room for the adapters of a GPU; memory that need not be pinned is taken when it is needed."""
    if device.type != "cuda":
        return Pool(0, pinned=False)
    if free_memory(device).host - cache_bytes < HOST_WORKING_BYTES:
        log.warning("adapters: host memory is short, so it is pinned for each of them anew")
        return Pool(0, pinned=True)
    return Pool(cache_bytes, pinned=True)


def free_memory(device: torch.device) -> Memory:
    """What is free now on the device and on the host."""
    host = psutil.virtual_memory().available
    if device.type == "cpu":
        return Memory(None, host)
    if device.type != "cuda":
        # Apple's GPU shares the host's memory.
        return Memory(host, host)
    number = torch.cuda.current_device() if device.index is None else device.index
    free, total = torch.cuda.mem_get_info(number)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limit = int(torch.cuda.get_per_process_memory_fraction(number) * total)
    return Memory(min(free + cached, limit - torch.cuda.memory_allocated(device)), host)


def _because(why_not: str | None) -> str:
    return f" ({why_not})" if why_not else ""
