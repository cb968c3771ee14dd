"""What an error of torch means: short of memory, a lost device, or just this call."""

from collections.abc import Callable

import pytest
import torch

from lorajobs.engine.base import DeviceFault
from lorajobs.engine.device import guarded
from lorajobs.errors import EngineFailed, JobCanceled, LeaseLost, OutOfMemory, WorkerStopping


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OutOfMemory),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceFault),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceFault),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceFault),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), EngineFailed),
        (ValueError("CUDA error: only in its text"), EngineFailed),
        (JobCanceled(), JobCanceled),
        (LeaseLost(), LeaseLost),
        (WorkerStopping(), WorkerStopping),
    ],
)
def test_each_error_is_what_it_says(error: Exception, meaning: type[Exception]) -> None:
    with pytest.raises(meaning) as caught:
        guarded(raising(error))
    assert type(caught.value) is meaning


def test_a_result_passes() -> None:
    assert guarded(lambda: 7) == 7
