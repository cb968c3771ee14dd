"""Where a base computes, in what precision, and what a failure there means."""

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from lorajobs.engine.base import DeviceFault
from lorajobs.errors import (
    EngineFailed,
    JobCanceled,
    LeaseLost,
    LoraJobsError,
    OutOfMemory,
    WorkerStopping,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: How allocators that have no exception class of their own say that memory is short.
_SHORT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


#: How CUDA says that its context is lost, which no later call in this process gets back.
_FAULTS = (
    "CUDA error:",
    "device-side assert",
    "unspecified launch failure",
    "_STATUS_EXECUTION_FAILED",
    "_STATUS_INTERNAL_ERROR",
)


def pick_device(asked: str | None) -> torch.device:
    """The device asked for, or the best there is."""
    if asked:
        return torch.device(asked)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(asked: str, device: torch.device, *, has_transformer: bool) -> torch.dtype:
    """The precision asked for; `auto` is half on an accelerator, single on a CPU."""
    if asked != "auto":
        named: torch.dtype = getattr(torch, asked)
        return named
    if device.type == "cpu":
        return torch.float32
    # SD3 and Flux were trained in bfloat16 and leave the range of float16.
    return torch.bfloat16 if has_transformer else torch.float16


def guarded(call: Callable[[], T]) -> T:
    """Runs a call of the pipeline and translates what it raises.

    Raises: OutOfMemory, DeviceFault, EngineFailed; errors of lorajobs and what ends an attempt from
    outside (JobCanceled, LeaseLost, WorkerStopping) pass unchanged.
    """
    try:
        return call()
    except (LoraJobsError, JobCanceled, LeaseLost, WorkerStopping):
        raise
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".strip(": ")
        if not is_out_of_memory(error):
            raise DeviceFault(detail) if is_fault(error) else EngineFailed(detail) from error
    # Out of the handler, so that the failed frames hold their tensors no longer.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise OutOfMemory(detail)


def guarded_with_room(call: Callable[[], T], make_room: Callable[[], bool]) -> T:
    """The same, but once more if memory was short and `make_room` could give some back."""
    try:
        return guarded(call)
    except OutOfMemory as error:
        if not make_room():
            raise
        log.warning("again, with what memory could be freed: %s", error.detail)
    return guarded(call)


def is_out_of_memory(error: Exception) -> bool:
    """True if the error says, in whatever way, that memory is short."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(hint in str(error) for hint in _SHORT_OF_MEMORY)


def is_fault(error: Exception) -> bool:
    """True if the error says that the device failed, not only this call."""
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _FAULTS)
