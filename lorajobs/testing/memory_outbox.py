"""The outbox of webhooks in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lorajobs.jobs import Job
from lorajobs.outbox import (
    LOGGED,
    PROGRESS_MS,
    Delivery,
    DeliveryNotFound,
    DeliveryRecord,
    DeliveryStatus,
    Try,
    Verdict,
)
from lorajobs.testing.memory_events import MemoryEvents


@dataclass
class _Webhook:
    delivery: Delivery
    made_ms: int
    due_ms: int
    status: DeliveryStatus = DeliveryStatus.PENDING
    #: until when a courier has it
    held_ms: int = 0
    log: list[Try] = field(default_factory=list)

    @property
    def is_pending(self) -> bool:
        return self.status is DeliveryStatus.PENDING

    @property
    def record(self) -> DeliveryRecord:
        due_ms = self.due_ms if self.is_pending else None
        return DeliveryRecord(self.delivery, self.status, due_ms, list(self.log))


class MemoryOutbox(MemoryEvents):
    """Outbox and DeliveryLog, under the lock and the clock of a store."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: dict[str, _Webhook] = {}
        #: when a job's progress was last put here, and how often that was
        self._told: dict[str, tuple[int, int]] = {}

    @property
    def outbox(self) -> dict[str, _Webhook]:
        """What is not settled."""
        return {name: hook for name, hook in self._hooks.items() if hook.is_pending}

    def announce(self, job: Job, event: str, suffix: str = "") -> None:
        """Puts a webhook into the outbox, if the job asked for this one."""
        webhook = job.spec.webhook
        if webhook is None or event not in webhook.events:
            return
        name = f"{job.id}.{event}{suffix}"
        now = self.clock_ms()
        self._hooks[name] = _Webhook(
            Delivery(name, job.id, webhook.url, f"job.{event}", 0), now, now
        )

    def announce_progress(self, job: Job) -> None:
        """The same, unless the last one is pending still or was only just made."""
        now = self.clock_ms()
        last_ms, number = self._told.get(job.id, (now - PROGRESS_MS, 0))
        if now - last_ms >= PROGRESS_MS and f"{job.id}.progress.{number}" not in self.outbox:
            self._told[job.id] = now, number + 1
            self.announce(job, "progress", f".{number + 1}")

    def forget_deliveries(self, job_id: str) -> None:
        """Drops a deleted job's webhooks."""
        self._told.pop(job_id, None)
        for name in [n for n, h in self._hooks.items() if h.delivery.job_id == job_id]:
            del self._hooks[name]

    def due_deliveries(
        self, limit: int, hold_s: float, per_host: int | None = None
    ) -> Sequence[Delivery]:
        with self.lock:
            now = self.clock_ms()
            pending = sorted(self.outbox.values(), key=lambda hook: hook.due_ms)
            sending = Counter(hook.delivery.host for hook in pending if hook.held_ms > now)
            given: list[Delivery] = []
            for hook in pending:
                host = hook.delivery.host
                free = per_host is None or sending[host] < per_host
                if hook.due_ms <= now and free and len(given) < limit:
                    sending[host] += 1
                    hook.due_ms = hook.held_ms = now + int(hold_s * 1000)
                    hook.delivery = hook.delivery._replace(tries=hook.delivery.tries + 1)
                    given.append(hook.delivery)
            return given

    def hold(self, delivery: Delivery, seconds: float) -> bool:
        with self.lock:
            hook = self.outbox.get(delivery.id)
            if hook is None or hook.delivery.tries != delivery.tries:
                return False
            hook.due_ms = hook.held_ms = self.clock_ms() + int(seconds * 1000)
            return True

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        with self.lock:
            hook = self._hooks.get(delivery.id)
            if hook is None:
                return
            now = self.clock_ms()
            hook.log = [*hook.log, Try(now, verdict.result)][-LOGGED:]
            current = hook.delivery.tries == delivery.tries
            if not hook.is_pending:
                return
            if verdict.status is not DeliveryStatus.PENDING:
                hook.status, hook.held_ms = verdict.status, 0
                if delivery.event == "job.progress":
                    del self._hooks[delivery.id]
            elif current:
                hook.due_ms, hook.held_ms = now + int(verdict.retry_in_s * 1000), 0

    def deliveries(self, job_id: str) -> Sequence[DeliveryRecord]:
        with self.lock:
            hooks = [hook for hook in self._hooks.values() if hook.delivery.job_id == job_id]
            return [hook.record for hook in sorted(hooks, key=lambda hook: hook.made_ms)]

    def redeliver(self, job_id: str, delivery_id: str) -> DeliveryRecord:
        with self.lock:
            hook = self._hooks.get(delivery_id)
            if hook is None or hook.delivery.job_id != job_id:
                raise DeliveryNotFound(f"the job has no delivery {delivery_id!r}")
            hook.status, hook.due_ms, hook.held_ms = DeliveryStatus.PENDING, self.clock_ms(), 0
            hook.delivery = hook.delivery._replace(tries=0)
            return hook.record
