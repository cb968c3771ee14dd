"""nvidia-smi's own word for how busy a GPU is."""

import subprocess
import threading
import time
from types import TracebackType
from typing import Self

_COMMAND = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms")
_EVERY_MS = 100


class NvidiaSmi:
    """Asks for the first GPU's utilisation, again and again; says nothing without the program."""

    def __init__(self) -> None:
        self._told: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._process = subprocess.Popen(
                [*_COMMAND, str(_EVERY_MS), "--id=0"], stdout=subprocess.PIPE, text=True
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

    def mean(self, begin: float, end: float) -> float | None:
        """The share of that time in which a kernel ran, by its samples; None without any."""
        found = [share for at, share in self._told if begin <= at <= end]
        return sum(found) / len(found) / 100 if found else None

    def _read(self) -> None:
        assert self._process
        assert self._process.stdout
        for text in self._process.stdout:
            if text.strip().isdigit():
                self._told.append((time.time(), float(text)))
