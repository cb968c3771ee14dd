"""The line under attack: a broker that comes back with its data, API, courier, painting workers."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lorajobs.catalog import DEMO
from lorajobs.webhook_secrets import new_secret
from tests.services.cut_proxy import CutProxy
from tests.services.line import Line, line
from tests.services.server import HOST, free_ports, serving
from tests.services.valkey import valkey

log = logging.getLogger(__name__)

LEASE_S = 2.0
STEP_TIMEOUT_S = 2.0
STEP_S = 0.03
#: Share of the workers' requests to the broker and store whose replies are lost.
CUT_SHARE = 0.02
SECRET = new_secret()
SETTINGS = {
    "LEASE_S": LEASE_S,
    "RENEW_S": 0.5,
    "STEP_TIMEOUT_S": STEP_TIMEOUT_S,
    # Kills must not use them up.
    "MAX_ATTEMPTS": 50,
    "API_WORKERS": 1,
    "WEBHOOK_TIMEOUT_S": 2,
    "WEBHOOK_RETRY_S": str([0.2] * 30),
    "WEBHOOK_SECRET": SECRET,
}


@dataclass
class Outage:
    """When the broker was away, in milliseconds since 1970; it is if `until_ms` is infinite."""

    from_ms: float
    until_ms: float = float("inf")


@dataclass
class Slot:
    """The place of one process; what dies in it is replaced."""

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes]"
    #: runs, neither killed nor frozen
    up: bool = True
    #: when it began, by the monotonic clock
    began: float = field(default_factory=time.monotonic)
    #: since when no fault has hit it, by the same clock
    since: float = field(default_factory=time.monotonic)
    #: when it was last seen running a job, by the same clock
    active: float = 0.0

    @property
    def able(self) -> bool:
        """True if it has worked since the last fault that hit it."""
        return self.up and self.active > self.since


class Broker:
    """A Valkey that keeps its port and its data."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.outages: list[Outage] = []
        self.pid: int | None = None
        self._folder = folder
        self._running = ExitStack()
        folder.mkdir()

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Starts it, or starts it again, and waits until it has read its data."""
        served = valkey(self._folder, aof=True, port=self.port)
        self.pid = self._running.enter_context(served).pid
        if self.outages:
            self.outages[-1].until_ms = time.time() * 1000

    def kill(self) -> None:
        """Kills it."""
        self.outages.append(Outage(time.time() * 1000))
        self.pid = None
        self._running.close()

    def close(self) -> None:
        """Kills it for good."""
        self._running.close()


class Arena:
    """Starts and replaces the processes; only the thread that made it may."""

    def __init__(self, broker: Broker, proxy: CutProxy, made: Line, workers: int) -> None:
        """Starts everything and waits until all workers are warm."""
        self.broker = broker
        self.proxy = proxy
        self.line = made
        #: processes that ended although nobody killed them, and workers that did not come to work
        self.exits = 0
        self.false_starts = 0
        self.api = self._slot("api", "-m", "lorajobs", "api")
        self.courier = self._slot("courier", "-m", "lorajobs", "courier")
        url = f"redis://{HOST}:{proxy.port}/0"
        argv = ("-m", "tests.services.paint_worker", "demo", str(STEP_S))
        self.workers = [
            self._slot(f"worker-{number}", *argv, LORAJOBS_REDIS_URL=url)
            for number in range(workers)
        ]
        made.until(lambda: made.answers("/readyz"), "the API is ready")
        made.until(lambda: len(made.warm_workers()) == workers, "all workers are warm")

    def _slot(self, name: str, *argv: str, **env: str) -> Slot:
        def start() -> "subprocess.Popen[bytes]":
            return self.line.start(name, *argv, **env)

        return Slot(name, start, start())

    def replace(self, slot: Slot) -> None:
        """Puts a new process in the place of a dead one."""
        slot.process = slot.start()
        slot.up, slot.began, slot.since = True, time.monotonic(), time.monotonic()

    def supervise(self) -> None:
        """Replaces what ended by itself, as whoever runs the line would."""
        for slot in (self.api, self.courier, *self.workers):
            if slot.up and slot.process.poll() is not None:
                # Celery gives a worker up whose child is killed while it starts.
                starting = slot in self.workers and slot.active < slot.began
                log.warning("%s, %d, ended by itself", slot.name, slot.process.pid)
                self.exits += not starting
                self.false_starts += starting
                self.replace(slot)

    def return_broker(self) -> None:
        """Starts the broker on its data; from then on all workers can work."""
        self.broker.start()
        for slot in self.workers:
            slot.since = time.monotonic()

    def orphans(self) -> list[int]:
        """Live processes of sessions whose leader is dead."""
        dead = {p.pid for p in self.line.processes if p.poll() is not None}
        return [pid for pid, session in _sessions() if session in dead]


def signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Sends a signal to a process and to all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _sessions() -> Iterator[tuple[int, int]]:
    """Every live process of this machine and its session, on Linux."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name before it may hold spaces and brackets.
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if state not in ("Z", "X"):
                yield int(entry.name), int(session)


def _catalog() -> str:
    """The demo's base and adapters, with a window in which jobs are reordered that is short.

    Else a job that came back would wait, as it may, for others with the loaded adapter.
    """
    demo = DEMO.parent
    tables = [f'[models.demo]\npath = "{demo / "base"}"\nreorder_window_s = 1\n']
    tables += [
        f'[loras.{file.stem}]\nsource = "{file}"\nbase = "demo"\n'
        for file in sorted((demo / "loras").glob("*.safetensors"))
    ]
    return "\n".join(tables)


@contextmanager
def arena(folder: Path, workers: int, seed: int) -> Iterator[Arena]:
    """An arena with everything running; all that it starts is killed at the end."""
    broker = Broker(folder / "valkey")
    config = folder / "lorajobs.toml"
    config.write_text(_catalog())
    values = {**SETTINGS, "CONFIG": config}
    env = {f"LORAJOBS_{name}": str(value) for name, value in values.items()}
    with (
        ExitStack() as stack,
        serving(CutProxy(broker.port, CUT_SHARE, seed)) as proxy,
        line(folder, **env, LORAJOBS_REDIS_URL=broker.url) as made,
    ):
        stack.callback(broker.close)
        broker.start()
        yield Arena(broker, proxy, made, workers)
