"""The burst once more, through real Celery, Valkey, API and worker processes whose engine sleeps.

Time is scaled: an A10G's job and swap take a fraction of theirs, all else what it really takes.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.demand import burst
from bench.report import Goal, Part, at_least, at_most, median
from bench.simulation import A10G, Costs
from bench.timetable import Figures, Run, figures, gaps_ms
from lorajobs.catalog import DEMO
from lorajobs.jobs import Job
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from tests.services.line import Line, line
from tests.services.valkey import valkey
from tests.shelf import weights

ADAPTERS = 10
WORKERS = 2
STEPS = 5
SEED = 0
MOST_SWAPS = 11
LEAST_GAIN = 0.15
#: Beyond what the jobs need.
PATIENCE_S = 60.0


class Outcome(NamedTuple):
    """One policy's burst."""

    policy: str
    seen: Figures
    #: from a job's end to its worker's next claim, the median, milliseconds
    gap_ms: float

    def cells(self) -> Sequence[str]:
        """For the table."""
        f = self.seen
        waits = (f.mean_wait_s, f.p95_wait_s, f.max_wait_s)
        lost = f"{100 * f.lost_s / (WORKERS * f.makespan_s):.1f} %"
        seconds = [f"{wait:.1f}" for wait in waits]
        head = (self.policy, str(f.swaps), f"{f.makespan_s:.1f}", lost)
        return (*head, *seconds, str(f.overtakes), f"{self.gap_ms:g}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rounded = {k: round(v, 3) for k, v in self.seen._asdict().items()}
        return {"policy": self.policy, **rounded, "gap_ms": self.gap_ms}


def compare(jobs: int, scale: float, window_s: float = 10.0) -> Part:
    """Runs the same burst strictly in order and with the window; `scale` divides the times."""
    costs = Costs(A10G.name, round(A10G.job_ms / scale), round(A10G.swap_ms / scale))
    fifo = _outcome("FIFO", 0, jobs, costs)
    mine = _outcome(f"ours, {window_s:g} s", window_s, jobs, costs)
    gain = 1 - mine.seen.makespan_s / fifo.seen.makespan_s
    return Part(
        f"Real Celery and Valkey: burst of {jobs} jobs, {ADAPTERS} adapters, {WORKERS} worker "
        f"processes, A10G costs ÷ {scale:g} ({costs.job_ms} ms a job, {costs.swap_ms} ms a swap)",
        (
            *("policy", "swaps", "makespan s", "GPU lost", "mean wait s", "p95 wait s"),
            *("max wait s", "overtakes", "end to next claim ms"),
        ),
        [fifo.cells(), mine.cells()],
        {"scale": scale, "fifo": fifo.as_dict(), "ours": mine.as_dict(), "gain": round(gain, 3)},
        _goals(mine, gain),
    )


def _goals(mine: Outcome, gain: float) -> Sequence[Goal]:
    return [
        at_most("swaps in the burst through Celery", mine.seen.swaps, MOST_SWAPS),
        at_least(
            "makespan below FIFO's in the burst through Celery, share", round(gain, 3), LEAST_GAIN
        ),
        at_most("overtakes beyond the window through Celery", mine.seen.overtakes, 0),
    ]


def _outcome(policy: str, window_s: float, jobs: int, costs: Costs) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="lorajobs-bench-") as name:
        runs = run_burst(Path(name), window_s, jobs, costs)
    return Outcome(policy, figures(runs, window_s), median(gaps_ms(runs)))


def run_burst(folder: Path, window_s: float, jobs: int, costs: Costs) -> Sequence[Run]:
    """The timetable of one burst, as if all had been submitted when the workers began."""
    (folder / "valkey").mkdir()
    env = {"LORAJOBS_CONFIG": str(_config(folder, window_s))}
    with (
        valkey(folder / "valkey") as server,
        line(folder, **env, LORAJOBS_REDIS_URL=server.url) as made,
    ):
        made.start_api()
        step_s, swap_s = costs.job_ms / 1000 / STEPS, costs.swap_ms / 1000
        workers = [
            made.start_painter(f"worker-{n}", step_s=step_s, swap_s=swap_s) for n in range(WORKERS)
        ]
        _signal(workers, signal.SIGSTOP)
        ids = [
            made.submit(num_inference_steps=STEPS, loras=[{"id": arrival.adapter}])["id"]
            for arrival in burst(jobs, ADAPTERS, SEED)
        ]
        began_ms = int(time.time() * 1000)
        _signal(workers, signal.SIGCONT)
        return _await(made, server.url, ids, began_ms, jobs * costs.job_ms / 1000 + PATIENCE_S)


def _config(folder: Path, window_s: float) -> Path:
    """A `lorajobs.toml` with the demo's base and adapters that only a painter can use."""
    tables = [f'[models.demo]\npath = "{DEMO.parent / "base"}"\nreorder_window_s = {window_s}\n']
    for name in sorted({arrival.adapter for arrival in burst(10_000, ADAPTERS, SEED)}):
        file = folder / f"{name}.safetensors"
        file.write_bytes(weights(name))
        tables.append(f'[loras.{name}]\nsource = "{file}"\nbase = "demo"\n')
    config = folder / "lorajobs.toml"
    config.write_text("\n".join(tables))
    return config


def _signal(workers: "Sequence[subprocess.Popen[bytes]]", number: signal.Signals) -> None:
    for worker in workers:
        os.killpg(worker.pid, number)


def _await(
    made: Line, url: str, ids: Sequence[str], began_ms: int, within_s: float
) -> Sequence[Run]:
    """Waits until all have succeeded, without a load on the API that the workers would feel."""
    client = connect(url)
    store = RedisJobStore(client)

    def ended() -> bool:
        time.sleep(0.5)
        return store.get(ids[-1]).status.is_terminal and all(
            store.get(job_id).status.is_terminal for job_id in ids
        )

    try:
        made.until(ended, "every job has ended", within_s)
        return [_as_run(store.get(job_id), began_ms) for job_id in ids]
    finally:
        client.close()


def _as_run(job: Job, began_ms: int) -> Run:
    if job.started_ms is None or job.completed_ms is None or job.attempt != 1:
        raise RuntimeError(f"job {job.id} did not run once from start to end: {job.status}")
    swapped = job.metrics.swapped and job.metrics.swap_s
    return Run(
        worker=job.worker or "",
        group=job.spec.group,
        submitted_ms=max(job.created_ms, began_ms),
        started_ms=job.started_ms,
        ended_ms=job.completed_ms,
        swap_ms=1000 * (swapped or 0.0),
    )
