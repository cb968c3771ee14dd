"""Flower beside a line, as an operator's program talks to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.services.line import Line
from tests.services.server import HOST, free_ports


class Flower:
    """Its API."""

    def __init__(self, made: Line, http: httpx.Client) -> None:
        self._line = made
        self._http = http

    def seen(self, job_id: str, state: str) -> dict[str, Any]:
        """The task of a job, once Flower shows it in this state."""
        self._line.until(
            lambda: self._tasks().get(job_id, {}).get("state") == state, f"Flower shows {state}"
        )
        return dict(self._tasks()[job_id])

    def revoke(self, job_id: str, *, terminate: bool) -> None:
        """What a click does."""
        asked = {"terminate": "true"} if terminate else {}
        self._http.post(f"/api/task/revoke/{job_id}", params=asked).raise_for_status()

    def hears(self) -> bool:
        """True once it listens: it has heard of a worker."""
        try:
            return "flower_worker_online{" in self._http.get("/metrics").text
        except httpx.TransportError:
            return False

    def asks_who(self) -> bool:
        """True if a stranger is turned away, from pages and API alike.

        Its /metrics and /healthcheck, which name workers and the task, are open to everybody.
        """
        url = str(self._http.base_url)
        return all(
            httpx.get(url + path, trust_env=False).status_code == 401
            for path in ("/", "/workers", "/tasks", "/api/tasks", "/api/workers")
        )

    def _tasks(self) -> dict[str, Any]:
        try:
            reply = self._http.get("/api/tasks")
        except httpx.TransportError:
            return {}
        return dict(reply.json()) if reply.status_code == 200 else {}


@contextmanager
def flower(made: Line) -> Iterator[Flower]:
    """Starts it behind a password, and waits until it has heard of a worker."""
    port = free_ports(1)[0]
    env = {"LORAJOBS_FLOWER_PORT": str(port), "LORAJOBS_FLOWER_AUTH": "ops:secret"}
    made.start("flower", "-m", "lorajobs", "flower", **env)
    url = f"http://{HOST}:{port}"
    with httpx.Client(base_url=url, auth=("ops", "secret"), trust_env=False) as http:
        found = Flower(made, http)
        made.until(found.hears, "Flower hears of workers")
        yield found
