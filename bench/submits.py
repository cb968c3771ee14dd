"""How many jobs a second the API takes, beside a bare Flask route under the same gunicorn."""

import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from bench.report import Part, at_least, median
from lorajobs.embedded.programs import api
from lorajobs.settings import Settings
from tests.services.line import Line, line
from tests.services.server import HOST, free_ports
from tests.services.valkey import valkey

LEAST_SHARE = 0.5
THREADS = 4
BODY = {"model": "demo", "prompt": "a red heart", "loras": [{"id": "pixel"}]}


class Round(NamedTuple):
    """Answers a second of both, measured one right after the other."""

    submits: float
    bare: float

    @property
    def share(self) -> float:
        """Of the bare route's rate."""
        return self.submits / self.bare


def measure(rounds: int, seconds: float) -> Part:
    """Measures both in turn, `seconds` each, on processes of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lorajobs-bench-")))
        (folder / "valkey").mkdir()
        server = stack.enter_context(valkey(folder / "valkey"))
        env = {"LORAJOBS_REDIS_URL": server.url, "LORAJOBS_MAX_WAITING": "1000000"}
        made = stack.enter_context(line(folder, **env))
        made.start_api()
        bare = _start_bare(made)
        for url in (made.url, bare):
            _rate(url, seconds / 4)
        found = [Round(_rate(made.url, seconds), _rate(bare, seconds)) for _ in range(rounds)]
    return _part(found)


def _part(found: Sequence[Round]) -> Part:
    options = Settings()
    share = round(median([each.share for each in found]), 3)
    figures: dict[str, Any] = {
        "submits_per_s": round(median([each.submits for each in found])),
        "bare_per_s": round(median([each.bare for each in found])),
        "share": share,
        "rounds": [[round(each.submits), round(each.bare)] for each in found],
    }
    return Part(
        f"Submits over HTTP: gunicorn with {options.api_workers} processes of "
        f"{options.api_threads} threads, {THREADS} clients on the same machine",
        ("round", "submits / s", "bare POSTs / s", "share"),
        [
            (str(number), f"{each.submits:.0f}", f"{each.bare:.0f}", f"{each.share:.2f}")
            for number, each in enumerate(found, 1)
        ],
        figures,
        [at_least("submits over HTTP, share of a bare Flask POST's rate", share, LEAST_SHARE)],
    )


def _start_bare(made: Line) -> str:
    """Starts the bare route as `lorajobs api` starts the API; returns its URL."""
    (port,) = free_ports(1)
    _, *argv, _ = api(Settings(api_port=port)).argv
    made.start("bare", *argv, "bench.bare:create_app()")
    url = f"http://{HOST}:{port}"
    made.until(lambda: _answers(url), "the bare route answers")
    return url


def _answers(url: str) -> bool:
    try:
        return httpx.post(f"{url}/v1/jobs", json={}, trust_env=False).status_code == 202
    except httpx.TransportError:
        return False


def _rate(url: str, seconds: float) -> float:
    """Answers a second to clients that each ask again as soon as they are answered."""
    counts: list[int] = []
    begun = time.perf_counter()
    clients = [
        threading.Thread(target=lambda: counts.append(_ask(url, begun + seconds)))
        for _ in range(THREADS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.perf_counter() - begun
    if len(counts) < THREADS:
        raise RuntimeError(f"{url} did not accept every job")
    return sum(counts) / took


def _ask(url: str, ends_at: float) -> int:
    count = 0
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        while time.perf_counter() < ends_at:
            reply = client.post("/v1/jobs", json=BODY)
            if reply.status_code != 202:
                raise RuntimeError(f"{reply.status_code}: {reply.text}")
            count += 1
    return count
