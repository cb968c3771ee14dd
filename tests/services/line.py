"""The whole line as real processes: API, workers, courier, on a Valkey of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.services.leash import leashed
from tests.services.server import HOST, free_ports

#: Seconds between two looks, at first and at last: a look costs the machine 3 ms.
POLL_S, LONGEST_POLL_S = 0.02, 0.1
#: The receivers and file servers of tests.
LOCAL = '["127.0.0.0/8"]'
#: Seconds for a real base on a machine that does other things too.
WARM_S = 200.0
ENDED = frozenset({"succeeded", "failed", "canceled", "expired"})


class Line:
    """Starts processes with one environment, and asks the API about jobs."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.port = free_ports(1)[0]
        self.env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "LORAJOBS_DATA_DIR": str(self.data_dir),
            "LORAJOBS_API_PORT": str(self.port),
            "LORAJOBS_WEBHOOK_PRIVATE": LOCAL,
            "LORAJOBS_FETCH_PRIVATE": LOCAL,
            **env,
        }
        self.url = f"http://{HOST}:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        #: every process that was ever started
        self.processes: list[subprocess.Popen[bytes]] = []
        self._names: dict[int, str] = {}

    def start(self, name: str, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        """Starts a Python program of the line; its log is `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                leashed([sys.executable, *argv]),
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        self._names[process.pid] = name
        return process

    def named(self, name: str) -> "list[subprocess.Popen[bytes]]":
        """The processes that were started under this name."""
        return [p for p in self.processes if self._names[p.pid] == name]

    def start_api(self) -> subprocess.Popen[bytes]:
        """Starts the API and waits until it is ready."""
        process = self.start("api", "-m", "lorajobs", "api")
        self.until(lambda: self.answers("/readyz"), "the API is ready")
        return process

    def restart_api(self) -> None:
        """Kills the API and starts it anew, with nothing that its processes remembered."""
        self.stop(self.named("api"))
        self.start_api()

    def start_courier(self) -> subprocess.Popen[bytes]:
        """Starts the courier."""
        return self.start("courier", "-m", "lorajobs", "courier")

    def start_painter(
        self,
        name: str = "painter",
        *,
        step_s: float = 0.0,
        swap_s: float = 0.0,
        load_s: float = 0.0,
        bases: str = "demo",
        **env: str,
    ) -> "subprocess.Popen[bytes]":
        """Starts a worker that paints, and waits until it is warm."""
        costs = (str(step_s), str(swap_s), str(load_s))
        return self._warm(name, "-m", "tests.services.paint_worker", bases, *costs, **env)

    def start_worker(self, name: str = "worker") -> subprocess.Popen[bytes]:
        """Starts a worker on the demo base, and waits until it is warm."""
        return self._warm(name, "-m", "lorajobs", "worker", "--model", "demo")

    def _warm(self, name: str, *argv: str, **env: str) -> subprocess.Popen[bytes]:
        process = self.start(name, *argv, **env)
        mark = f"-{process.pid}@"
        self.until(
            lambda: any(mark in w["name"] for w in self.warm_workers()), f"{name} is warm", WARM_S
        )
        return process

    def warm_workers(self) -> list[dict[str, Any]]:
        """The live workers that have their base loaded."""
        models = self.http.get("/v1/models").raise_for_status().json()["models"]
        return [w for model in models for w in model["workers"] if w["state"] == "warm"]

    def answers(self, path: str) -> bool:
        """True if the API answers 200 there."""
        try:
            return self.http.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def submit(self, prompt: str = "a red heart", **fields: Any) -> dict[str, Any]:
        """POSTs a job to the demo base; returns its document."""
        body = {"model": "demo", "prompt": prompt, "num_inference_steps": 4, "seed": 7, **fields}
        reply = self.http.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return dict(reply.json())

    def job(self, job_id: str) -> dict[str, Any]:
        """The job's document."""
        return dict(self.http.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def ended(self, job_id: str, deadline_s: float = 120) -> dict[str, Any]:
        """The job's document once it has ended."""
        return self.reached(job_id, lambda job: job["status"] in ENDED, deadline_s)

    def reached(
        self, job_id: str, state: Callable[[dict[str, Any]], bool], deadline_s: float = 120
    ) -> dict[str, Any]:
        """The job's document once it is in this state."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [self.job(job_id)]
            return state(found[0])

        self.until(there, f"job {job_id}", deadline_s)
        return found[0]

    def run(self, prompt: str = "a red heart", **fields: Any) -> dict[str, Any]:
        """Submits a job and waits until it has succeeded."""
        job = self.ended(self.submit(prompt, **fields)["id"])
        assert job["status"] == "succeeded", job["error"]
        return job

    def until(self, condition: Callable[[], bool], what: str, deadline_s: float = 120) -> None:
        """Polls until the condition holds.

        Raises: AssertionError with the ends of all logs.
        """
        deadline, pause_s = time.monotonic() + deadline_s, POLL_S
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {deadline_s:g} s: {what}\n{self.logs()}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.1, LONGEST_POLL_S)

    def left(self) -> dict[int, str]:
        """The live processes with this line's data folder, on Linux: ids and command lines."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if environ(int(process.name)).get("LORAJOBS_DATA_DIR") == str(self.data_dir):
                    words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(process.name)] = words.decode()
            except OSError:
                continue
        return found

    def logs(self) -> str:
        """The end of every process's log."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

    def stop(self, processes: Sequence["subprocess.Popen[bytes]"] | None = None) -> None:
        """Kills processes, all if none are given, and whatever they started."""
        for process in self.processes if processes is None else processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def children_of(pid: int) -> list[int]:
    """The process ids of a process's children, on Linux."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def environ(pid: int) -> dict[str, str]:
    """The environment that a process was started with, on Linux.

    Raises: OSError if it is gone.
    """
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {name: value for name, _, value in pairs}


@contextmanager
def line(folder: Path, **env: str) -> Iterator[Line]:
    """A line without processes yet; all that it starts are killed at the end."""
    made = Line(folder, env)
    try:
        yield made
    finally:
        made.stop()
        made.http.close()
