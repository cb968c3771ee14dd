"""The queue in simulated time: the real policy over the store in memory, workers that only wait.

One event after the other, so a seed gives the same timetable to the millisecond every time.
"""

import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

from bench.demand import Arrival
from bench.disk import Disk
from bench.policies import Policy
from bench.timetable import Run
from lorajobs.claim import HOLD_S
from lorajobs.fetcher import AHEAD, PERIOD_S
from lorajobs.jobs import Job, JobStatus, Lease, Outcome
from lorajobs.spec import JobSpec
from lorajobs.store import QueueRules, WorkerState
from lorajobs.testing import ManualClock, MemoryJobStore
from tests.jobs import a_spec, use

_FOREVER_S = 1e9
_RULES = QueueRules(lease_s=_FOREVER_S, max_waiting=10**9, max_waiting_per_key=10**9)
_DONE = Outcome(status=JobStatus.SUCCEEDED)


class Costs(NamedTuple):
    """What a job and a change of adapters take on one kind of GPU, milliseconds."""

    name: str
    job_ms: int
    swap_ms: int


H200 = Costs("H200", 1150, 5)
A10G = Costs("A10G", 8500, 3000)


@dataclass
class _Worker:
    name: str
    model: str
    group: str = ""
    #: tickets so far; each has an id of its own
    tickets: int = 0


@dataclass
class Outcomes:
    """What a simulation saw."""

    runs: list[Run] = field(default_factory=list)
    #: at each submit: the time, milliseconds, and how many jobs of its base waited before it
    backlog: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    #: the bases at which more jobs waited than were allowed to, which ended the simulation
    flooded: set[str] = field(default_factory=set)


def _alive(worker: _Worker) -> WorkerState:
    return WorkerState(name=worker.name, model=worker.model, state="warm", loaded=(), job_id=None)


@cache
def spec_of(model: str, adapter: str, owner: str = "") -> JobSpec:
    """What every job of one base, adapter and API key asks for."""
    return a_spec(model=model, loras=(use(adapter),), owner=owner)


class Simulation:
    """Workers, each of one base, on one machine; with a disk, adapters are fetched ahead to it."""

    def __init__(
        self,
        policy: Policy,
        costs: Costs,
        models: Sequence[str],
        disk: Disk | None = None,
        most_waiting: int | None = None,
        from_ms: int = 0,
    ) -> None:
        """`models` is the base of each worker; they all begin at `from_ms`.

        Without a disk every adapter is at hand.
        """
        self.seen = Outcomes()
        self._policy = policy
        self._costs = costs
        self._disk = disk
        self._most_waiting = most_waiting
        self._clock = ManualClock(0)
        self._store = MemoryJobStore(rules=_RULES, clock_ms=self._clock)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._waiting: Counter[str] = Counter()
        self._tickets: Counter[str] = Counter()
        self._look_at_ms: dict[str, int] = {}
        self._idle: dict[str, deque[_Worker]] = defaultdict(deque)
        for number, model in enumerate(models):
            worker = _Worker(f"worker-{number}", model)
            self._store.put_worker(_alive(worker), _FOREVER_S)
            self._at(from_ms, partial(self._receive, worker))

    def run(self, arrivals: Iterable[Arrival]) -> Outcomes:
        """Until every job has run, or too many wait."""
        self._await(enumerate(arrivals))
        while self._events and not self.seen.flooded:
            self._clock.now_ms, _, event = heapq.heappop(self._events)
            event()
        return self.seen

    def _at(self, at_ms: int, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_ms, next(self._order), event))

    # Jobs

    def _await(self, coming: Iterator[tuple[int, Arrival]]) -> None:
        following = next(coming, None)
        if following is None:
            return
        number, arrival = following

        def arrive() -> None:
            self._submit(number, arrival)
            self._await(coming)

        self._at(arrival.at_ms, arrive)

    def _submit(self, number: int, arrival: Arrival) -> None:
        model = arrival.model
        self.seen.backlog[model].append((self._clock.now_ms, self._waiting[model]))
        spec = spec_of(model, arrival.adapter, arrival.owner)
        job = Job(id=f"job-{number:06}", status=JobStatus.QUEUED, spec=spec, created_ms=0)
        self._store.submit(job, None)
        self._waiting[model] += 1
        if self._most_waiting is not None and self._waiting[model] > self._most_waiting:
            self.seen.flooded.add(model)
        self._tickets[model] += 1
        self._look_later(model)
        if self._idle[model]:
            # A blocked pop is served in the order in which the workers began to wait.
            self._receive(self._idle[model].popleft())

    # Workers

    def _receive(self, worker: _Worker) -> None:
        """Takes a ticket, or begins to wait for one."""
        if not self._tickets[worker.model]:
            self._idle[worker.model].append(worker)
            return
        self._tickets[worker.model] -= 1
        worker.tickets += 1
        self._exchange(worker)

    def _exchange(self, worker: _Worker) -> None:
        """Exchanges the worker's ticket for a job, as `lorajobs.claim` does."""
        snapshot = self._store.snapshot(worker.model, worker.name, worker.group)
        chosen = self._policy.choose(snapshot, self._is_here)
        if chosen is not None and not self._is_here(chosen.group):
            self._look_later(worker.model)
            self._at(self._clock.now_ms + int(HOLD_S * 1000), lambda: self._exchange(worker))
            return
        ticket = f"{worker.name}-{worker.tickets}"
        job = self._store.claim(worker.model, chosen.id if chosen else None, worker.name, ticket)
        if job is None:
            self._receive(worker)
            return
        self._waiting[worker.model] -= 1
        self._look_later(worker.model)
        self._start(worker, job.lease)

    def _start(self, worker: _Worker, lease: Lease) -> None:
        job = self._store.get(lease.job_id)
        swap_ms = self._costs.swap_ms if job.spec.group != worker.group else 0
        worker.group = job.spec.group
        if self._disk is not None:
            self._disk.use(worker.group)
        now_ms = self._clock.now_ms
        ends_ms = now_ms + swap_ms + self._costs.job_ms

        def end() -> None:
            self._store.finish(lease, _DONE)
            # The store in memory looks at every record that it has.
            self._store.delete(lease.job_id)
            times = (job.created_ms, now_ms, ends_ms, swap_ms)
            self.seen.runs.append(Run(worker.name, worker.group, *times))
            self._receive(worker)

        self._at(ends_ms, end)

    # The disk

    def _is_here(self, group: str) -> bool:
        return self._disk is None or self._disk.has(group)

    def _look_later(self, model: str) -> None:
        """Plans the fetchers' next look; they look all the time, but now something has changed."""
        period_ms = int(PERIOD_S * 1000)
        next_ms = (self._clock.now_ms // period_ms + 1) * period_ms
        if self._disk is not None and self._look_at_ms.get(model) != next_ms:
            self._look_at_ms[model] = next_ms
            self._at(next_ms, lambda: self._look(model))

    def _look(self, model: str) -> None:
        """Brings what the next jobs need, as `lorajobs.fetcher` does."""
        for waiting in self._store.snapshot(model).next(AHEAD):
            self._bring(waiting.group)

    def _bring(self, group: str) -> None:
        disk = self._disk
        if disk is not None and (here_at_ms := disk.order(group, self._clock.now_ms)) is not None:
            self._at(here_at_ms, lambda: disk.use(group))
