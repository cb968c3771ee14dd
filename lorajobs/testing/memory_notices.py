"""What a store in memory has besides its jobs: webhooks to send, and who is alive."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorajobs.store import Delivery, WorkerState
from lorajobs.testing.memory_events import MemoryEvents


@dataclass
class _Webhook:
    delivery: Delivery
    due_ms: int


class MemoryNotices(MemoryEvents):
    """The outbox and the list of workers, under the lock and the clock of a store."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox: dict[str, _Webhook] = {}
        self._workers: dict[str, tuple[WorkerState, int]] = {}

    def announce(self, job_id: str, url: str, status: str) -> None:
        """Puts a webhook into the outbox."""
        key = f"{job_id}.{status}"
        delivery = Delivery(key, job_id, url, f"job.{status}", 0)
        self.outbox[key] = _Webhook(delivery, self.clock_ms())

    def due_deliveries(self, limit: int, hold_s: float) -> Sequence[Delivery]:
        with self.lock:
            now = self.clock_ms()
            due = [hook for hook in self.outbox.values() if hook.due_ms <= now][:limit]
            for hook in due:
                hook.due_ms = now + int(hold_s * 1000)
                hook.delivery = hook.delivery._replace(tries=hook.delivery.tries + 1)
            return [hook.delivery for hook in due]

    def settle(self, delivery: Delivery, retry_in_s: float | None) -> None:
        with self.lock:
            if retry_in_s is None:
                self.outbox.pop(delivery.id, None)
            elif delivery.id in self.outbox:
                self.outbox[delivery.id].due_ms = self.clock_ms() + int(retry_in_s * 1000)

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        with self.lock:
            self._workers[worker.name] = (worker, self.clock_ms() + int(ttl_s * 1000))

    def remove_worker(self, name: str) -> None:
        with self.lock:
            self._workers.pop(name, None)

    def workers(self) -> Sequence[WorkerState]:
        with self.lock:
            now = self.clock_ms()
            return [w for _, (w, ends) in sorted(self._workers.items()) if ends > now]
