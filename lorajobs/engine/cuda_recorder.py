"""Recordings of work on a GPU, as CUDA graphs that share one pool of memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

#: Runs before a recording: the libraries choose their kernels and take their workspaces.
WARM_UPS = 2


class CudaRecording:
    """One captured graph."""

    def __init__(self, graph: torch.cuda.CUDAGraph, size: int) -> None:
        self._graph = graph
        self._bytes = size

    @property
    def bytes(self) -> int:
        """Device memory that capturing it took."""
        return self._bytes

    def replay(self) -> None:
        """Launches it on the current stream."""
        self._graph.replay()

    def release(self) -> None:
        """Gives back its memory."""
        self._graph.reset()


class CudaRecorder:
    """Captures on a stream of its own.

    The graphs share a pool, since no two run at the same time and their results are copied at
    once: so they take as much memory as the largest.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, work: Callable[[], T]) -> tuple[CudaRecording, T]:
        """Captures what the work launches.

        Raises: what the work raises, RuntimeError if it waits for the device.
        """
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                work()
        current.wait_stream(self._stream)
        before = self._free()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile: adapters are staged, pictures decoded.
        capture = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        # torch leaves the capture's stream the current one if the capture itself fails.
        with torch.cuda.stream(current), capture:
            made = work()
        return CudaRecording(graph, max(0, before - self._free())), made

    def _free(self) -> int:
        # What the warm-ups took would hide what the graph takes.
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        return int(free)
