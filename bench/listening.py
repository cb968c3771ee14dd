"""Clients that follow jobs live, in a process of their own, and how late they hear of events."""

import json
import multiprocessing
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

from lorajobs.client import TERMINAL
from lorajobs.jobs import JobStatus, Lease, Outcome, Stage
from lorajobs.redis_store import RedisJobStore, open_job_store
from lorajobs.settings import Settings
from lorajobs.store import Progress
from tests.jobs import a_job

#: Progress of all jobs together.
EVENTS_PER_S = 100
DEADLINE_S = 120.0

#: Of each listener and step: the number of the listener, the step, and when it was heard.
Heard = list[tuple[int, int, float]]


class Jobs:
    """Running jobs whose progress is written as a worker writes it, without any worker."""

    def __init__(self, redis_url: str, count: int, steps: int) -> None:
        self._store: RedisJobStore = open_job_store(Settings(redis_url=redis_url))
        self._steps = steps
        self._leases = [self._claimed(number) for number in range(count)]
        #: when each step of each job was written
        self.written: dict[tuple[int, int], float] = {}

    @property
    def ids(self) -> Sequence[str]:
        """One for each listener."""
        return [lease.job_id for lease in self._leases]

    def _claimed(self, number: int) -> Lease:
        job = a_job(num_inference_steps=self._steps)
        self._store.submit(job, None)
        claimed = self._store.claim("demo", job.id, f"bench-{number}", f"ticket of {job.id}")
        assert claimed is not None
        return claimed.lease

    def play(self) -> None:
        """Writes every step of every job, evenly in time, and ends them all."""
        due = time.monotonic()
        for step in range(1, self._steps + 1):
            for number, lease in enumerate(self._leases):
                due += 1 / EVENTS_PER_S
                time.sleep(max(0.0, due - time.monotonic()))
                self.written[number, step] = time.monotonic()
                self._store.renew(lease, Progress(Stage.DENOISING, step, self._steps))
        for lease in self._leases:
            self._store.finish(lease, Outcome(status=JobStatus.SUCCEEDED))


class Audience:
    """Listeners that are connected, one for each job."""

    def __init__(self, told: Connection) -> None:
        self._told = told

    def delays_ms(self, jobs: Jobs) -> Sequence[float]:
        """Plays the jobs to the end; of every event, how long after it was written it was heard."""
        playing = threading.Thread(target=jobs.play)
        playing.start()
        heard: Heard = _received(self._told)
        playing.join()
        expected = set(jobs.written)
        assert {(number, step) for number, step, _ in heard} == expected, "events were missed"
        assert len(heard) == len(expected), "events were repeated"
        return [1000 * (at - jobs.written[number, step]) for number, step, at in heard]


@contextmanager
def audience(url: str, ids: Sequence[str]) -> Iterator[Audience]:
    """Starts the process of the listeners, and waits until all are answered."""
    spawn = multiprocessing.get_context("spawn")
    told, tell = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_listen, args=(url, ids, tell), daemon=True)
    process.start()
    try:
        assert _received(told) == "connected"
        yield Audience(told)
    finally:
        process.terminate()
        process.join()
        told.close()
        tell.close()


def _received(told: Connection) -> Any:  # noqa: ANN401
    if not told.poll(DEADLINE_S):
        raise RuntimeError(f"the listeners said nothing for {DEADLINE_S:g} s")
    return told.recv()


class _Listener:
    """One connection, and what was read of it."""

    def __init__(self, number: int, url: str, job_id: str) -> None:
        parts = urlsplit(url)
        self.number = number
        self.sock = socket.create_connection((parts.hostname or "", parts.port or 80), 30)
        request = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
        self.sock.sendall(request.encode())
        self._read = b""
        self.ended = False

    def heard(self) -> Iterator[int]:
        """Reads what is there: the steps that it tells."""
        self._read += self.sock.recv(65_536)
        *lines, self._read = self._read.split(b"\n")
        kind = ""
        for line in lines:
            if line.startswith(b"event: "):
                kind = line[7:].decode()
                self.ended = self.ended or kind in TERMINAL
            elif line.startswith(b"data: ") and kind == "progress":
                yield int(json.loads(line[6:])["step"])

    def connect(self) -> None:
        """Reads until the first event was told."""
        while b"event: running" not in self._read:
            self._read += self.sock.recv(65_536)
            if b" 200 OK" not in self._read[:20]:
                raise RuntimeError(self._read.decode())
        self._read = b""


def _listen(url: str, ids: Sequence[str], tell: Connection) -> None:
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        listeners = [_Listener(number, url, job_id) for number, job_id in enumerate(ids)]
        for each in listeners:
            stack.enter_context(each.sock)
            each.connect()
            ready.register(each.sock, selectors.EVENT_READ, each)
        tell.send("connected")
        heard: Heard = []
        left = len(listeners)
        while left:
            for key, _ in ready.select():
                at = time.monotonic()
                heard += [(key.data.number, step, at) for step in key.data.heard()]
                if key.data.ended:
                    ready.unregister(key.data.sock)
                    left -= 1
        tell.send(heard)
