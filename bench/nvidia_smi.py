"""nvidia-smi's own word for how busy a GPU is."""

import subprocess
import threading
import time
from types import TracebackType
from typing import Self

_QUERY = ("--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits")
_EVERY_MS = 100


class NvidiaSmi:
    """Asks for every GPU's utilisation, again and again; says nothing without the program."""

    def __init__(self) -> None:
        #: when, which GPU, percent
        self._told: list[tuple[float, int, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._process = subprocess.Popen(
                ["nvidia-smi", *_QUERY, "-lms", str(_EVERY_MS)], stdout=subprocess.PIPE, text=True
            )
        except FileNotFoundError:
            return self
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._thread.join()
            if self._process.stdout:
                self._process.stdout.close()

    def mean(self, begin: float, end: float, gpus: int = 1) -> float | None:
        """The share of that time in which a kernel ran, by its samples; None without any.

        It is that of the first `gpus`, as the program counts them, together.
        """
        found = [share for at, gpu, share in self._told if begin <= at <= end and gpu < gpus]
        return sum(found) / len(found) / 100 if found else None

    def _read(self) -> None:
        assert self._process
        assert self._process.stdout
        for text in self._process.stdout:
            gpu, _, share = text.strip().partition(", ")
            if share.isdigit():
                self._told.append((time.time(), int(gpu), float(share)))
