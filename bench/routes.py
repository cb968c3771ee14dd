"""How many answers a second the API gives, beside a bare Flask route under the same gunicorn."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bench.cpu import clock_of, computed_ms
from bench.report import Part, at_least, median
from lorajobs.processes.programs import api
from lorajobs.settings import Settings
from tests.services.line import Line, children_of, line
from tests.services.server import HOST, free_ports
from tests.services.valkey import valkey

LEAST_SHARE = 0.5
THREADS = 4
BODY = {"model": "demo", "prompt": "a red heart", "loras": [{"id": "pixel"}]}


class Rate(NamedTuple):
    """What one server did in one round."""

    per_s: float
    #: milliseconds that its processes computed for each answer
    cpu_ms: float


class Round(NamedTuple):
    """Both servers, one right after the other."""

    api: Rate
    bare: Rate

    @property
    def share(self) -> float:
        """Of the bare route's rate."""
        return self.api.per_s / self.bare.per_s

    def cells(self) -> Sequence[str]:
        """For a table."""
        rates = (f"{self.api.per_s:.0f}", f"{self.bare.per_s:.0f}", f"{self.share:.2f}")
        return (*rates, f"{self.api.cpu_ms:.2f}", f"{self.bare.cpu_ms:.2f}")


class Route(NamedTuple):
    """What clients ask for again and again."""

    name: str
    method: str
    #: of the API and, so that it is told apart, of the bare application
    path: str
    status: int
    body: Mapping[str, Any] | None = None


SUBMIT = Route("submit", "POST", "/v1/jobs", 202, BODY)


def poll(job_id: str) -> Route:
    """A look at one job."""
    return Route("poll", "GET", f"/v1/jobs/{job_id}", 200)


class Server:
    """A gunicorn, and whatever else computes for its answers."""

    def __init__(self, url: str, pid: int, *others: int) -> None:
        """`pid` is gunicorn's first process."""
        self.url = url
        self._pid = pid
        self._others = others

    def rate(self, route: Route, seconds: float) -> Rate:
        """Answers to clients that each ask again as soon as they are answered.

        Raises: RuntimeError if one is refused.
        """
        pids = (self._pid, *children_of(self._pid), *self._others)
        clocks = [clock_of(pid) for pid in pids]
        with ExitStack() as stack:
            clients = [stack.enter_context(_client(self.url)) for _ in range(THREADS)]
            pool = stack.enter_context(ThreadPoolExecutor(THREADS))
            computed, begun = computed_ms(clocks), time.perf_counter()
            asking = [pool.submit(_ask, client, route, begun + seconds) for client in clients]
            answers = sum(asked.result() for asked in asking)
            took, computed = time.perf_counter() - begun, computed_ms(clocks) - computed
        return Rate(answers / took, computed / answers)


class Stand(NamedTuple):
    """A line with an API under load, and the bare application beside it."""

    line: Line
    api: Server
    bare: Server
    #: of its Valkey
    store_url: str


@contextmanager
def stand(worker_class: str | None = None, **env: str) -> Iterator[Stand]:
    """Starts both under gunicorn as `lorajobs api` does, or with another class of worker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lorajobs-bench-")))
        (folder / "valkey").mkdir()
        store = stack.enter_context(valkey(folder / "valkey"))
        env = {"LORAJOBS_REDIS_URL": store.url, "LORAJOBS_MAX_WAITING": "1000000", **env}
        made = stack.enter_context(line(folder, **env))
        api_pid = _start(made, "api", made.port, worker_class, "web:create_app()")
        (port,) = free_ports(1)
        bare_pid = _start(made, "bare", port, worker_class, "bench.bare:create_app()")
        served = Server(made.url, api_pid, store.pid)
        yield Stand(made, served, Server(f"http://{HOST}:{port}", bare_pid), store.url)


def compare(there: Stand, route: Route, rounds: int, seconds: float) -> Part:
    """Measures both in turn, `seconds` each."""
    for server in (there.api, there.bare):
        server.rate(route, seconds / 4)
    found = [
        Round(there.api.rate(route, seconds), there.bare.rate(route, seconds))
        for _ in range(rounds)
    ]
    return _part(route, found)


def _part(route: Route, found: Sequence[Round]) -> Part:
    name, bare = route.name, f"bare {route.method}"
    share = round(median([each.share for each in found]), 3)
    figures: dict[str, Any] = {
        f"{name}s_per_s": round(median([each.api.per_s for each in found])),
        "bare_per_s": round(median([each.bare.per_s for each in found])),
        "share": share,
        f"cpu_ms_per_{name}": round(median([each.api.cpu_ms for each in found]), 3),
        "cpu_ms_per_bare": round(median([each.bare.cpu_ms for each in found]), 3),
    }
    return Part(
        f"{name.capitalize()}s over HTTP: gunicorn with {Settings().api_workers} processes, "
        f"{THREADS} clients on the same machine",
        ("round", f"{name}s / s", f"{bare}s / s", "share", f"CPU ms / {name}", f"CPU ms / {bare}"),
        [(str(number), *each.cells()) for number, each in enumerate(found, 1)],
        figures,
        [at_least(f"{name}s over HTTP, share of a {bare}'s rate", share, LEAST_SHARE)],
    )


def _start(made: Line, name: str, port: int, worker_class: str | None, target: str) -> int:
    _, *argv, _ = api(Settings(api_port=port)).argv
    if worker_class:
        argv[argv.index("--worker-class") + 1] = worker_class
    process = made.start(name, *argv, target)
    made.until(lambda: _answers(f"http://{HOST}:{port}"), f"{name} answers")
    return process.pid


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30, trust_env=False)


def _answers(url: str) -> bool:
    with _client(url) as client:
        try:
            return client.post(SUBMIT.path, json=BODY).status_code == SUBMIT.status
        except httpx.TransportError:
            return False


def _ask(client: httpx.Client, route: Route, ends_at: float) -> int:
    count = 0
    while not count or time.perf_counter() < ends_at:
        reply = client.request(route.method, route.path, json=route.body)
        if reply.status_code != route.status:
            raise RuntimeError(f"{client.base_url}: {reply.status_code} {reply.text}")
        count += 1
    return count
