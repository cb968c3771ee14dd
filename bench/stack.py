"""The whole of lorajobs on one machine, for as long as it is measured."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench import timed_workers
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
#: How often all workers are given a job, until each has had one.
ROUNDS = 10


class Burst(NamedTuple):
    """Jobs that were submitted at once; seconds of the wall clock."""

    begin: float
    end: float
    jobs: Sequence[Document]
    #: of each worker, in the order of its pictures
    lanes: Sequence[Sequence[Turn]]


class Stack:
    """API, courier and workers with stopwatches, on a Valkey and a folder of their own."""

    def __init__(self, made: Line, client: Client, bed: Bed, turns: Path) -> None:
        """A worker adds a line to `turns` for each picture; those of a group have a file each."""
        self._line = made
        self._client = client
        self._bed = bed
        self._turns = turns
        self._lanes: Sequence[Path] = ()
        #: where the pristine weights of the present workers lie
        self.placement = ""
        #: the adapters that the present worker has had
        self.seen: set[str] = set()

    def start(self, gpus: int | None = None, bases: Sequence[str] = (BASE,)) -> float:
        """Starts a worker of these bases, or one on each of the first GPUs; seconds until warm."""
        begun = time.time()
        self.seen.clear()
        before = {worker["name"] for worker in self._line.warm_workers()}
        process = self._started(gpus, ",".join(bases))

        def warm() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended\n{self._line.logs()}")
            new = [w for w in self._line.warm_workers() if w["name"] not in before]
            self.placement = "+".join(dict.fromkeys(worker["placement"] for worker in new))
            return len(new) == (gpus or 1)

        self._line.until(warm, "the workers are warm", LOAD_S)
        return time.time() - begun

    def _started(self, gpus: int | None, bases: str) -> "subprocess.Popen[bytes]":
        limit = str(self._bed.scale.memory_gb)
        if gpus is None:
            self._lanes = [self._turns]
            alone = ("bench.timed_worker", bases, limit, str(self._turns))
            return self._line.start("worker", "-m", *alone)
        self._lanes = [timed_workers.turns_of(self._turns, number) for number in range(gpus)]
        for lane in self._lanes:
            lane.unlink(missing_ok=True)
        asked = ",".join(map(str, range(gpus)))
        argv = ("bench.timed_workers", bases, limit, str(self._turns), asked)
        return self._line.start("worker", "-m", *argv, **_limits(self._bed, gpus))

    def stop(self) -> None:
        """Stops the workers as an operator would."""
        for process in self._line.named("worker"):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(END_S)

    def run(self, wish: Wish) -> tuple[float, float, Document]:
        """One job on its own: seconds from its submit to its claim and to the answer, and that.

        Raises: RuntimeError if it did not succeed.
        """
        begun, since = time.time(), time.perf_counter()
        job = self._client.submit(self._bed.body(wish), wait_s=WAIT_S)
        took = time.perf_counter() - since
        self.seen |= {wish.adapter} - {""}
        self._succeeded(job)
        return unix(job["started_at"]) - begun, took, job

    def burst(self, wishes: Sequence[Wish]) -> Burst:
        """Submits all jobs, then waits for them.

        Raises: RuntimeError if one did not succeed.
        """
        begun = time.time()
        ids = [self._client.submit(self._bed.body(wish))["id"] for wish in wishes]
        jobs = [self._succeeded(self._client.wait(job_id)) for job_id in ids]
        ended = max(unix(job["completed_at"]) for job in jobs)
        return Burst(begun, ended, jobs, self._made({wish.seed for wish in wishes}))

    def warm_up(self, wishes: Iterator[Wish]) -> None:
        """The first of these jobs, until every worker has had one; all workers at once.

        Raises: RuntimeError if one of them gets none.
        """
        had = [False for _ in self._lanes]
        for _ in range(ROUNDS):
            burst = self.burst([next(wishes) for _ in self._lanes])
            had = [one or bool(lane) for one, lane in zip(had, burst.lanes, strict=True)]
            if all(had):
                return
        raise RuntimeError(f"a worker gets no job\n{self._line.logs()}")

    def _made(self, seeds: set[int]) -> Sequence[Sequence[Turn]]:
        return [
            [turn for turn in (read(lane) if lane.exists() else ()) if turn.seed in seeds]
            for lane in self._lanes
        ]

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
        **_limits(bed, 1),
    }
    with (
        valkey(folder / "valkey", aof=True) as server,
        line(folder, **env, LORAJOBS_REDIS_URL=server.url) as made,
        Client(made.url, timeout_s=WAIT_S + 30) as client,
    ):
        made.start_api()
        made.start_courier()
        yield Stack(made, client, bed, turns.absolute())


def _limits(bed: Bed, workers: int) -> dict[str, str]:
    """What so many workers of one host divide among them."""
    if bed.scale.device != "cuda":
        return {"LORAJOBS_HOST_CACHE_MB": str(64 * workers)}
    return {
        "LORAJOBS_HOST_CACHE_MB": str(HOST_CACHE_MB * workers),
        # As for those who do not share a GPU's host.
        "OMP_NUM_THREADS": str((os.cpu_count() or 1) // workers or 1),
    }


def unix(time_of: str) -> float:
    """A time of a document, seconds."""
    return datetime.fromisoformat(time_of).timestamp()
