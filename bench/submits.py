"""How many jobs a second the API takes, beside a bare Flask route under the same gunicorn."""

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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
        """For the table."""
        rates = (f"{self.api.per_s:.0f}", f"{self.bare.per_s:.0f}", f"{self.share:.2f}")
        return (*rates, f"{self.api.cpu_ms:.2f}", f"{self.bare.cpu_ms:.2f}")


class Server:
    """A gunicorn, and whatever else computes for its answers."""

    def __init__(self, url: str, pid: int, *others: int) -> None:
        """`pid` is gunicorn's first process."""
        self.url = url
        self._pid = pid
        self._others = others

    def rate(self, seconds: float) -> Rate:
        """Answers to clients that each ask again as soon as they are answered.

        Raises: RuntimeError if one is refused.
        """
        pids = (self._pid, *children_of(self._pid), *self._others)
        clocks = [clock_of(pid) for pid in pids]
        with ExitStack() as stack:
            clients = [stack.enter_context(_client(self.url)) for _ in range(THREADS)]
            pool = stack.enter_context(ThreadPoolExecutor(THREADS))
            computed, begun = computed_ms(clocks), time.perf_counter()
            asking = [pool.submit(_ask, client, begun + seconds) for client in clients]
            answers = sum(asked.result() for asked in asking)
            took, computed = time.perf_counter() - begun, computed_ms(clocks) - computed
        return Rate(answers / took, computed / answers)


def measure(rounds: int, seconds: float) -> Part:
    """Measures both in turn, `seconds` each, on processes of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lorajobs-bench-")))
        (folder / "valkey").mkdir()
        store = stack.enter_context(valkey(folder / "valkey"))
        env = {"LORAJOBS_REDIS_URL": store.url, "LORAJOBS_MAX_WAITING": "1000000"}
        made = stack.enter_context(line(folder, **env))
        served = Server(made.url, made.start_api().pid, store.pid)
        bare = _start_bare(made)
        for server in (served, bare):
            server.rate(seconds / 4)
        return _part([Round(served.rate(seconds), bare.rate(seconds)) for _ in range(rounds)])


def _part(found: Sequence[Round]) -> Part:
    share = round(median([each.share for each in found]), 3)
    used = round(median([each.bare.cpu_ms / each.api.cpu_ms for each in found]), 3)
    figures: dict[str, Any] = {
        "submits_per_s": round(median([each.api.per_s for each in found])),
        "bare_per_s": round(median([each.bare.per_s for each in found])),
        "share": share,
        "cpu_ms_per_submit": round(median([each.api.cpu_ms for each in found]), 3),
        "cpu_ms_per_bare": round(median([each.bare.cpu_ms for each in found]), 3),
    }
    options = Settings()
    return Part(
        f"Submits over HTTP: gunicorn with {options.api_workers} processes of "
        f"{options.api_threads} threads, {THREADS} clients on the same machine",
        ("round", "submits / s", "bare POSTs / s", "share", "CPU ms / submit", "CPU ms / bare"),
        [(str(number), *each.cells()) for number, each in enumerate(found, 1)],
        figures,
        [
            at_least("submits over HTTP, share of a bare Flask POST's rate", share, LEAST_SHARE),
            at_least("CPU time of a bare Flask POST, share of a submit's", used, LEAST_SHARE),
        ],
    )


def _start_bare(made: Line) -> Server:
    """Starts the bare route as `lorajobs api` starts the API."""
    (port,) = free_ports(1)
    url = f"http://{HOST}:{port}"
    _, *argv, _ = api(Settings(api_port=port)).argv
    process = made.start("bare", *argv, "bench.bare:create_app()")
    made.until(lambda: _answers(url), "the bare route answers")
    return Server(url, process.pid)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30, trust_env=False)


def _answers(url: str) -> bool:
    with _client(url) as client:
        try:
            return client.post("/v1/jobs", json=BODY).status_code == 202
        except httpx.TransportError:
            return False


def _ask(client: httpx.Client, ends_at: float) -> int:
    count = 0
    while not count or time.perf_counter() < ends_at:
        reply = client.post("/v1/jobs", json=BODY)
        if reply.status_code != 202:
            raise RuntimeError(f"{client.base_url}: {reply.status_code} {reply.text}")
        count += 1
    return count
