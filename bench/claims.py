"""What it takes a worker to get its next job, at several depths of the queue."""

import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from bench.cpu import clock_of, computed_ms
from bench.demand import BASE, name_of
from bench.report import Goal, Part, at_most
from bench.simulation import spec_of
from bench.timetable import quantile
from lorajobs.adapters.cache import DiskCache
from lorajobs.catalog import Catalog
from lorajobs.celery import make_app
from lorajobs.claim import Parent
from lorajobs.jobs import AppliedLora, Job, JobSpec, JobStatus, Lease, Outcome
from lorajobs.policy import choose
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.settings import Settings
from lorajobs.store import QueueRules, WorkerState
from lorajobs.tickets import TicketQueue
from lorajobs.worker_page import WorkerPage
from tests.services.valkey import valkey

ADAPTERS = 10
#: Other live workers, each with an adapter applied.
NEIGHBOURS = 4
WINDOW_US = 10_000_000
CHUNK = 1000
RULES = QueueRules(lease_s=3600, max_waiting=10**9)
MOST_P99_MS = 1.5
#: What is still flat: the slowest depth against the fastest.
FLAT = 1.5
_DONE = Outcome(status=JobStatus.SUCCEEDED)


class Sample(NamedTuple):
    """One claim, milliseconds."""

    #: from start to end
    claim: float
    #: of that, when this thread or the server computed instead of waiting for a core
    work: float
    #: a bare PING just before
    ping: float


class Depth(NamedTuple):
    """All claims at one depth."""

    waiting: int
    samples: Sequence[Sample]

    def ms(self, name: str, share: float) -> float:
        """A quantile of one time, milliseconds."""
        return round(quantile([getattr(s, name) for s in self.samples], share), 3)

    def cells(self) -> Sequence[str]:
        """For the table."""
        names = ("claim", "work", "ping")
        times = [f"{self.ms(name, share):.2f}" for name in names for share in (0.5, 0.99)]
        ratio = self.ms("claim", 0.5) / self.ms("ping", 0.5)
        return (f"{self.waiting:,}", *times, f"{ratio:.1f}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        times = {
            f"{name}_p{share:.0%}_ms".replace("%", ""): self.ms(name, share)
            for name in Sample._fields
            for share in (0.5, 0.99)
        }
        return {"waiting": self.waiting, **times}


class Claims:
    """One worker's parent on a queue of a given depth, which claims but never runs."""

    def __init__(self, url: str, pid: int, folder: Path) -> None:
        """`pid` is the server's."""
        self._server = [clock_of(pid)]
        self._client: Any = connect(url)
        self._store = RedisJobStore(self._client, RULES)
        self._specs = cycle([spec_of(BASE, name_of(i)) for i in range(ADAPTERS)])
        self._settings = Settings(redis_url=url, data_dir=folder)
        catalog = Catalog.load(None)
        self._parent = Parent(
            settings=self._settings,
            name="bench",
            entry=catalog.require(BASE),
            store=self._store,
            workers=self._store,
            rescuing=self._store,
            catalog=catalog,
            queue=TicketQueue(make_app(self._settings), self._settings),
            page=WorkerPage(),
            is_here=DiskCache.of(self._settings).has,
        )
        self._waiting = 0

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def shelve(self) -> None:
        """Puts a file for every adapter where a worker looks for it."""
        shelf = self._settings.data_dir / "adapters"
        shelf.mkdir()
        for spec in islice(self._specs, ADAPTERS):
            (shelf / f"{spec.loras[0].adapter.sha256}.safetensors").touch()

    def fill(self, waiting: int) -> None:
        """Submits until so many jobs wait, the adapters in turn."""
        pipe = self._client.pipeline(transaction=False)
        filler = RedisJobStore(pipe, RULES)
        while self._waiting < waiting:
            count = min(CHUNK, waiting - self._waiting)
            for spec in islice(self._specs, count):
                filler.submit(_job(spec), None)
            pipe.execute()
            self._waiting += count

    def staff(self) -> None:
        """Lets other workers claim a job each, so that their adapters are taken."""
        for number in range(NEIGHBOURS):
            name = f"neighbour-{number}"
            state = WorkerState(name=name, model=BASE, state="warm", loaded=(), job_id=None)
            self._store.put_worker(state, 3600)
            snapshot = self._store.snapshot(BASE, name, window_us=WINDOW_US)
            if chosen := choose(snapshot, WINDOW_US):
                self._store.claim(BASE, chosen.id, name, name)
                self._waiting -= 1

    def measure(self, count: int) -> Depth:
        """Claims so many jobs; each is replaced by a new one of the same adapter."""
        samples = []
        for _ in range(count):
            begun = time.perf_counter()
            self._client.ping()
            pinged = 1000 * (time.perf_counter() - begun)
            took, work, job = self._claim()
            samples.append(Sample(took, work, pinged))
            self._parent.page.say_loaded(_applied(job))
            self._store.finish(Lease(job.id, job.attempt), _DONE)
            self._store.submit(_job(job.spec), None)
        return Depth(self._waiting, samples)

    def _claim(self) -> tuple[float, float, Job]:
        """One claim: how long it took and how long was computed for it."""
        served, used, begun = computed_ms(self._server), time.thread_time(), time.perf_counter()
        job = self._parent.claim(str(uuid.uuid4()))
        took, used = time.perf_counter() - begun, time.thread_time() - used
        served = computed_ms(self._server) - served
        if job is None:
            raise RuntimeError("nothing was claimed although jobs wait")
        return 1000 * took, 1000 * used + served, job


def _job(spec: JobSpec) -> Job:
    return Job(id=str(uuid.uuid4()), status=JobStatus.QUEUED, spec=spec, created_ms=0)


def _applied(job: Job) -> Sequence[AppliedLora]:
    return [
        AppliedLora(id=a.id, revision=a.revision, sha256=a.sha256, scale=use.scale)
        for use in job.spec.loras
        for a in (use.adapter,)
    ]


@contextmanager
def claims(url: str, pid: int) -> Iterator[Claims]:
    """A worker's parent on this server."""
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder:
        made = Claims(url, pid, Path(folder))
        try:
            made.shelve()
            yield made
        finally:
            made.close()


def measure(depths: Sequence[int], count: int) -> tuple[Part, Sequence[Depth]]:
    """Measures on a server of its own, `count` claims at each depth, which must ascend."""
    with (
        tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as folder,
        valkey(Path(folder)) as server,
        claims(server.url, server.pid) as worker,
    ):
        worker.fill(depths[0])
        worker.staff()
        found = []
        for depth in depths:
            worker.fill(depth)
            worker.measure(count // 10)
            found.append(worker.measure(count))
    columns = (
        *("waiting", "claim p50 ms", "p99 ms", "computing p50 ms", "p99 ms"),
        *("PING p50 ms", "p99 ms", "claim / PING p50"),
    )
    part = Part(
        f"Claim through Valkey: snapshot, choice, claim, read; {ADAPTERS} adapters, "
        f"{NEIGHBOURS} other workers, {count:,} claims at each depth",
        columns,
        [depth.cells() for depth in found],
        {"depths": [depth.as_dict() for depth in found]},
        _goals(found),
    )
    return part, found


def _goals(found: Sequence[Depth]) -> Sequence[Goal]:
    work = [depth.ms("work", 0.99) for depth in found]
    return [
        at_most("claim p99, every depth, ms", max(d.ms("claim", 0.99) for d in found), MOST_P99_MS),
        at_most("claim p99 without waiting for a core, every depth, ms", max(work), MOST_P99_MS),
        at_most(
            "claim p99 without waiting for a core, largest ÷ smallest depth's",
            round(max(work) / min(work), 2),
            FLAT,
        ),
    ]
