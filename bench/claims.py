"""What it takes a worker to get its next job, at several depths of the queue."""

import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
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
from lorajobs.jobs import AppliedLora, Job, JobStatus, Outcome
from lorajobs.parent import Parent
from lorajobs.policy import choose
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.settings import Settings
from lorajobs.spec import JobSpec
from lorajobs.store import QueueRules, WorkerState
from lorajobs.terms import DEFAULT_TERMS
from lorajobs.tickets import TicketQueue
from lorajobs.worker_page import WorkerPage
from tests.services.valkey import valkey

ADAPTERS = 10
#: Other live workers, each with an adapter applied.
NEIGHBOURS = 4
WINDOW_US = 10_000_000
CHUNK = 1000
WARM_UP = 20
TURNS = 10
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

    def __init__(self, url: str, pid: int, folder: Path, waiting: int) -> None:
        """Opens the store under a prefix for its depth; `pid` is the server's."""
        self._server = [clock_of(pid)]
        self._client: Any = connect(url)
        self._prefix = f"bench-{waiting}"
        self._store = RedisJobStore(self._client, RULES, self._prefix)
        self._specs = cycle([spec_of(BASE, name_of(i)) for i in range(ADAPTERS)])
        self._settings = Settings(redis_url=url, data_dir=folder)
        catalog = Catalog.load(None)
        self._parent = Parent(
            settings=self._settings,
            name="bench",
            entries=[catalog.require(BASE)],
            store=self._store,
            workers=self._store,
            rescuing=self._store,
            catalog=catalog,
            queue=TicketQueue(make_app(self._settings), self._settings),
            page=WorkerPage(),
            is_here=DiskCache.of(self._settings).has,
            census=DiskCache.of(self._settings).census,
        )
        self._queue = catalog.require(BASE).queue
        self.waiting = waiting

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def fill(self) -> None:
        """Submits the jobs, the adapters in turn, and lets other workers claim one each."""
        pipe = self._client.pipeline(transaction=False)
        store: Any = self._store
        left = self.waiting + NEIGHBOURS
        while left:
            for spec in islice(self._specs, min(CHUNK, left)):
                # The script of a submit, a thousand at a time.
                row = store._submission(_job(spec), None, DEFAULT_TERMS)
                store._scripts["submit"](args=[self._prefix, *row, 0, 0, 0, "", "", 0], client=pipe)
                left -= 1
            pipe.execute()
        for number in range(NEIGHBOURS):
            name = f"neighbour-{number}"
            state = WorkerState(name=name, model=BASE, state="warm", loaded=(), job_id=None)
            self._store.put_worker(state, 3600)
            chosen = choose(self._store.snapshot(BASE, name), WINDOW_US)
            self._store.claim(BASE, chosen.id if chosen else None, name, name)

    def measure(self, count: int) -> Sequence[Sample]:
        """Claims so many jobs; each is replaced by a new one of the same adapter."""
        samples = []
        for _ in range(count):
            begun = time.perf_counter()
            self._client.ping()
            pinged = 1000 * (time.perf_counter() - begun)
            took, work, job = self._claim()
            samples.append(Sample(took, work, pinged))
            self._parent.page.say_loaded(_applied(job))
            self._store.finish(job.lease, _DONE)
            self._store.submit(_job(job.spec), None)
        return samples

    def _claim(self) -> tuple[float, float, Job]:
        """One claim: how long it took and how long was computed for it."""
        served, used, begun = computed_ms(self._server), time.thread_time(), time.perf_counter()
        job = self._parent.claim(str(uuid.uuid4()), self._queue)
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


def _shelve(folder: Path) -> None:
    """Puts a file for every adapter where a worker looks for it."""
    (folder / "adapters").mkdir()
    for number in range(ADAPTERS):
        sha256 = spec_of(BASE, name_of(number)).loras[0].adapter.sha256
        (folder / "adapters" / f"{sha256}.safetensors").touch()


def sample(depths: Sequence[int], count: int) -> Sequence[Depth]:
    """Takes `count` claims at each depth on a server of its own, a few at a time in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lorajobs-bench-")))
        _shelve(folder)
        server = stack.enter_context(valkey(folder))
        workers = []
        for waiting in depths:
            worker = Claims(server.url, server.pid, folder, waiting)
            stack.callback(worker.close)
            worker.fill()
            worker.measure(WARM_UP)
            workers.append(worker)
        turns = [[worker.measure(count // TURNS) for worker in workers] for _ in range(TURNS)]
    return [
        Depth(worker.waiting, [sample for turn in turns for sample in turn[index]])
        for index, worker in enumerate(workers)
    ]


def measure(depths: Sequence[int], count: int) -> tuple[Part, Sequence[Depth]]:
    """Measures the claim at each depth."""
    found = sample(depths, count)
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
