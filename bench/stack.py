"""The whole of lorajobs on one machine, for as long as it is measured."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.turns import Turn, read
from bench.worker_bed import BASE, Bed, Wish
from lorajobs.client import Client, Document
from tests.services.line import Line, line
from tests.services.valkey import valkey

#: A burst submits as fast as it can, more than the demo's users would.
_LIMITS = {"LORAJOBS_RATE_PER_MINUTE": "1000000", "LORAJOBS_LOG_LEVEL": "INFO"}
#: All adapters of a bed at full size.
HOST_CACHE_MB = 4096
#: Seconds for a base of 7 GB, and for a worker's end.
LOAD_S, END_S = 180.0, 60.0
WAIT_S = 60.0


class Burst(NamedTuple):
    """Jobs that were submitted at once; seconds of the wall clock."""

    begin: float
    end: float
    jobs: Sequence[Document]
    turns: Sequence[Turn]


class Stack:
    """API, courier and a worker with a stopwatch, on a Valkey and a folder of their own."""

    def __init__(self, made: Line, client: Client, bed: Bed, turns: Path) -> None:
        """The worker adds a line to `turns` for each picture."""
        self._line = made
        self._client = client
        self._bed = bed
        self._turns = turns
        #: the adapters that the present worker has had
        self.seen: set[str] = set()

    def start(self) -> float:
        """Starts a worker; seconds until its base is warm."""
        begun = time.time()
        self.seen.clear()
        process = self._line.start("worker", "-m", "bench.timed_worker", BASE, str(self._turns))
        mark = f"-{process.pid}@"

        def warm() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended\n{self._line.logs()}")
            return any(mark in worker["name"] for worker in self._line.warm_workers())

        self._line.until(warm, "the worker is warm", LOAD_S)
        return time.time() - begun

    def stop(self) -> None:
        """Stops the worker as an operator would."""
        for process in self._line.named("worker"):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(END_S)

    def run(self, wish: Wish) -> tuple[float, Document]:
        """One job on its own: seconds from its submit to the answer with URLs, and that.

        Raises: RuntimeError if it did not succeed.
        """
        begun = time.perf_counter()
        job = self._client.submit(self._bed.body(wish), wait_s=WAIT_S)
        took = time.perf_counter() - begun
        self.seen.add(wish.adapter)
        return took, self._succeeded(job)

    def burst(self, wishes: Sequence[Wish]) -> Burst:
        """Submits all jobs, then waits for them.

        Raises: RuntimeError if one did not succeed.
        """
        begun = time.time()
        ids = [self._client.submit(self._bed.body(wish))["id"] for wish in wishes]
        jobs = [self._succeeded(self._client.wait(job_id)) for job_id in ids]
        seeds = {wish.seed for wish in wishes}
        turns = [turn for turn in read(self._turns) if turn.seed in seeds]
        return Burst(begun, max(unix(job["completed_at"]) for job in jobs), jobs, turns)

    def _succeeded(self, job: Document) -> Document:
        if job["status"] != "succeeded" or not job["outputs"][0]["url"]:
            raise RuntimeError(f"{job['status']}: {job['error']}\n{self._line.logs()}")
        return job


@contextmanager
def stack(bed: Bed, turns: Path) -> Iterator[Stack]:
    """Everything but the worker, running."""
    folder = bed.folder / "stack"
    turns.parent.mkdir(parents=True, exist_ok=True)
    turns.unlink(missing_ok=True)
    (folder / "valkey").mkdir(parents=True)
    env: dict[str, Any] = {
        **_LIMITS,
        "LORAJOBS_CONFIG": str(bed.config),
        "LORAJOBS_DEVICE": bed.scale.device,
        "LORAJOBS_HOST_CACHE_MB": str(HOST_CACHE_MB if bed.scale.device == "cuda" else 64),
    }
    if bed.scale.device == "cuda":
        # As for those who do not share a GPU's host.
        env["OMP_NUM_THREADS"] = str(os.cpu_count())
    with (
        valkey(folder / "valkey", aof=True) as server,
        line(folder, **env, LORAJOBS_REDIS_URL=server.url) as made,
        Client(made.url, timeout_s=WAIT_S + 30) as client,
    ):
        made.start_api()
        made.start_courier()
        yield Stack(made, client, bed, turns.absolute())


def unix(time_of: str) -> float:
    """A time of a document, seconds."""
    return datetime.fromisoformat(time_of).timestamp()
