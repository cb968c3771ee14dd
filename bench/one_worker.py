"""What a real worker asks of the server while it does nothing, and for one job more.

Real processes: API, Celery, a worker whose engine sleeps as long as a GPU takes.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from bench.commands import Load, Server
from tests.services.line import Line

STEPS = 25
WAIT_S = 20
#: Commands that are shown by name.
SHOWN = 12


class Asked(NamedTuple):
    """What was asked of the server."""

    #: by one idle worker in a second
    idle: Load
    idle_s: float
    #: for all jobs, without what the idle worker would have asked meanwhile
    busy: Load
    jobs: int

    def idle_per_s(self) -> float:
        """Commands of an idle worker in a second."""
        return self.idle.all / self.idle_s

    def per_job(self) -> float:
        """Commands for a job, from its submit over HTTP to its end."""
        return self.busy.all / self.jobs


def nobody(server: Server, seconds: float) -> Load:
    """What the server is asked while no worker runs."""
    before = server.look()
    time.sleep(seconds)
    return server.look().less(before)


def ask(made: Line, server: Server, without: Load, seconds: float, jobs: int) -> Asked:
    """Looks at a line with one warm worker, which does nothing and then runs some jobs.

    `without` is what `nobody` saw in as many seconds.
    """
    idle = nobody(server, seconds).less(without)
    before, begun = server.look(), time.monotonic()
    for number in range(jobs):
        loras = [{"id": ("pixel", "lineart")[number % 2]}]
        job_id = made.submit(num_inference_steps=STEPS, loras=loras)["id"]
        # One request that waits, as a good client does.
        made.http.get(f"/v1/jobs/{job_id}", params={"wait": WAIT_S}).raise_for_status()
    took = time.monotonic() - begun
    # What nobody and the idle worker ask in that time goes on.
    busy = server.look().less(before).less(without, took / seconds).less(idle, took / seconds)
    return Asked(idle, seconds, busy, jobs)


def largest(calls: Mapping[str, int], by: float) -> str:
    """The commands that were asked most, each divided."""
    most = sorted(calls.items(), key=lambda item: -item[1])[:SHOWN]
    return ", ".join(f"{name} {count / by:.1f}" for name, count in most if count)
