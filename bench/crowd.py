"""Many workers on one Valkey: the real store, scripts and policy; only generating is left out.

Each process drives its share of the workers in virtual time: a job takes none of ours, but all
that a worker asks of the store in that time is asked, as often and in the order of virtual time.
"""

import heapq
import itertools
import json
import multiprocessing
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import dummy
from typing import Any, NamedTuple

from bench.commands import Load, Server
from bench.comparison import OURS
from bench.demand import BASE, name_of, zipf
from bench.policies import FIFO
from bench.simulation import H200, Costs, spec_of
from lorajobs.catalog import Catalog
from lorajobs.celery import make_app
from lorajobs.fetcher import AHEAD
from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import Job, JobStatus, Lease, Outcome, Stage
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.settings import Settings
from lorajobs.store import Progress, QueueRules, WorkerState
from lorajobs.tickets import TicketQueue

#: Nothing expires while virtual and real time go apart.
FOREVER_S = 3600.0
#: For all processes to get as far.
PATIENCE_S = 900.0
RULES = QueueRules(lease_s=FOREVER_S, max_waiting=10**9)
#: In order, and what workers do.
POLICIES = {policy.name: policy for policy in (FIFO, OURS)}
NOTHING = Holding.of(())
#: Between two updates of one stage, two looks of the fetcher, two renewals; milliseconds.
PROGRESS_MS, FETCH_MS, RENEW_MS = 250, 500, 1500
STAGES = (Stage.LOADING_ADAPTER, Stage.DENOISING, Stage.DECODING, Stage.UPLOADING)


class Task(NamedTuple):
    """What one process does; jobs are those of all processes."""

    url: str
    #: its number, and how many there are
    number: int
    processes: int
    workers: int
    adapters: int
    #: jobs that wait when the workers begin, and all the time
    waiting: int
    #: those that only fill the workers, and those that are counted
    warm_up: int
    jobs: int
    #: a name of `POLICIES`
    policy: str
    costs: Costs = H200


class Share(NamedTuple):
    """What came of one process's workers."""

    jobs: int
    swaps: int
    #: from snapshot to record, milliseconds
    claims: Sequence[float]
    #: computed by this process, seconds
    cpu_s: float
    #: claims that another worker was faster with
    beaten: int


class Seen(NamedTuple):
    """What came of all, and of the server."""

    load: Load
    seconds: float
    shares: Sequence[Share]

    @property
    def jobs(self) -> int:
        """Those that ended."""
        return sum(share.jobs for share in self.shares)

    @property
    def claims(self) -> Sequence[float]:
        """Milliseconds of each."""
        return [took for share in self.shares for took in share.claims]


@dataclass
class _Worker:
    name: str
    group: str = "-"
    lease: Lease | None = None
    ticket: tuple[str, str] = ("", "")
    #: when it does each next, virtual
    fetch_ms: float = 0
    renew_ms: float = 0


@dataclass
class Crowd:
    """The workers of one process."""

    task: Task
    claims: list[float] = field(default_factory=list)
    swaps: int = 0
    done: int = 0
    beaten: int = 0
    begun_s: float = 0.0

    def __post_init__(self) -> None:
        """Opens the store; nobody is asked yet."""
        task = self.task
        self._client: Any = connect(task.url)
        self._store = RedisJobStore(self._client, RULES)
        settings = Settings(redis_url=task.url)
        self._queue = Catalog.load(None).require(BASE).queue
        self._tickets = TicketQueue(make_app(settings), settings)
        self._rng = random.Random(task.number)
        self._shares = list(itertools.accumulate(zipf(task.adapters)))
        share = range(task.number, task.workers, task.processes)
        self._workers = [_Worker(f"worker-{number}") for number in share]
        job_ms = task.costs.job_ms
        self._events = [(self._rng.random() * job_ms, n) for n in range(len(self._workers))]
        heapq.heapify(self._events)

    def submit(self, count: int) -> None:
        """Clients: as many jobs, each of an adapter by its popularity."""
        names = self._rng.choices(range(self.task.adapters), cum_weights=self._shares, k=count)
        for name in names:
            spec = spec_of(BASE, name_of(name))
            job = Job(id=str(uuid.uuid4()), status=JobStatus.QUEUED, spec=spec, created_ms=0)
            self._store.submit(job, self._tickets.envelope(self._queue))

    def run(self, count: int) -> None:
        """Until so many jobs have ended; each is followed by the submit of another."""
        until = self.done + count
        while self.done < until:
            now_ms, number = heapq.heappop(self._events)
            took_ms = self._step(self._workers[number], now_ms)
            heapq.heappush(self._events, (now_ms + took_ms, number))

    def say_alive(self) -> None:
        """The first look of each worker."""
        for worker in self._workers:
            self._look(worker)

    def share(self) -> Share:
        """What came of it."""
        used_s = time.process_time() - self.begun_s
        return Share(self.done, self.swaps, self.claims, used_s, self.beaten)

    def forget(self) -> None:
        """Leaves out what was so far."""
        self.claims, self.swaps, self.done, self.beaten = [], 0, 0, 0
        self.begun_s = time.process_time()

    def _step(self, worker: _Worker, now_ms: float) -> float:
        """The end of a worker's job and its next claim; until when, milliseconds."""
        if worker.lease is not None:
            self._store.finish(worker.lease, Outcome(status=JobStatus.SUCCEEDED))
            self._acknowledge(worker)
            worker.lease = None
            self.done += 1
            self.submit(1)
        self._receive(worker)
        job = self._claim(worker)
        if job is None:
            # Nothing waits, or another was faster: it looks again.
            self._acknowledge(worker)
            return 1.0
        self._store.get(job.id)
        swapped = job.spec.group != worker.group
        self.swaps += swapped
        worker.group, worker.lease = job.spec.group, job.lease
        took_ms = self.task.costs.job_ms + swapped * self.task.costs.swap_ms
        self._live(worker, now_ms, took_ms)
        return took_ms

    def _claim(self, worker: _Worker) -> Job | None:
        begun = time.perf_counter()
        snapshot = self._store.snapshot(BASE, worker.name, worker.group)
        chosen = POLICIES[self.task.policy].choose(snapshot, lambda group: True)
        job = self._store.claim(BASE, chosen.id if chosen else None, worker.name, worker.ticket[0])
        self.claims.append(1000 * (time.perf_counter() - begun))
        self.beaten += chosen is not None and job is None
        return job

    def _live(self, worker: _Worker, now_ms: float, took_ms: float) -> None:
        """All that worker and child ask of the store until the job's end."""
        lease, ends_ms = worker.lease, now_ms + took_ms
        assert lease
        steps = [Progress(stage, 0, 25) for stage in STAGES]
        steps += [Progress(Stage.DENOISING, n, 25) for n in range(int(took_ms / PROGRESS_MS))]
        for progress in steps:
            self._store.renew(lease, progress)
        while worker.fetch_ms < ends_ms:
            self._store.snapshot(BASE, limit=AHEAD)
            worker.fetch_ms = max(worker.fetch_ms, now_ms) + FETCH_MS
        while worker.renew_ms < ends_ms:
            self._store.renew(lease)
            self._look(worker)
            worker.renew_ms = max(worker.renew_ms, now_ms) + RENEW_MS

    def _look(self, worker: _Worker) -> None:
        job_id = worker.lease.job_id if worker.lease else None
        state = WorkerState(worker.name, BASE, "warm", (), job_id)
        self._store.put_worker(state, FOREVER_S)
        held = {Holder("memory", worker.name): NOTHING, Holder("disk", worker.name): NOTHING}
        self._store.put_held(held, FOREVER_S)
        self._store.rescue()

    def _receive(self, worker: _Worker) -> None:
        """Takes a ticket as kombu does."""
        found = self._client.brpop(self._queue, timeout=1)
        if found is None:
            worker.ticket = (str(uuid.uuid4()), "")
            return
        message = json.loads(found[1])
        tag = message["properties"]["delivery_tag"]
        worker.ticket = (message["headers"]["id"], tag)
        with self._client.pipeline() as pipe:
            pipe.zadd("unacked_index", {tag: time.time()})
            pipe.hset("unacked", tag, found[1])
            pipe.execute()

    def _acknowledge(self, worker: _Worker) -> None:
        with self._client.pipeline() as pipe:
            pipe.zrem("unacked_index", worker.ticket[1])
            pipe.hdel("unacked", worker.ticket[1])
            pipe.execute()


def measure(server: Server, task: Task) -> Seen:
    """Drives all workers, in as many processes as the task says, on an empty server."""
    # Spawned: a client that was forked would share its sockets. One alone may be a thread.
    context: Any = multiprocessing.get_context("spawn") if task.processes > 1 else dummy
    gate, out = context.Barrier(task.processes + 1), context.Queue()
    processes = [
        context.Process(target=_work, args=(task._replace(number=number), gate, out))
        for number in range(task.processes)
    ]
    for process in processes:
        process.start()
    gate.wait(PATIENCE_S)
    before, begun = server.look(), time.perf_counter()
    gate.wait(PATIENCE_S)
    gate.wait(PATIENCE_S)
    seconds, load = time.perf_counter() - begun, server.look().less(before)
    gate.wait(PATIENCE_S)
    shares = [out.get() for _ in processes]
    for process in processes:
        process.join()
    return Seen(load, seconds, shares)


def _work(task: Task, gate: Any, out: Any) -> None:  # noqa: ANN401
    crowd = Crowd(task)
    crowd.say_alive()
    crowd.submit((task.waiting + task.workers) // task.processes)
    crowd.run(task.warm_up // task.processes)
    crowd.forget()
    # Both times all wait for each other while the server is looked at.
    gate.wait(PATIENCE_S)
    gate.wait(PATIENCE_S)
    crowd.run(task.jobs // task.processes)
    gate.wait(PATIENCE_S)
    gate.wait(PATIENCE_S)
    out.put(crowd.share())
