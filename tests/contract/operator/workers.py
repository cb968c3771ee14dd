"""Workers that an operator may see."""

from lorajobs.jobs import AppliedLora
from lorajobs.store import WorkerState

PIXEL, DISK = AppliedLora(id="pixel", revision="r", sha256="s", scale=0.8), "host:1-2"


def live(name: str = "demo-1@host", state: str = "warm", job_id: str | None = None) -> WorkerState:
    return WorkerState(name, "demo", state, [PIXEL], job_id, 12, 1_234_000_000, disk=DISK)
