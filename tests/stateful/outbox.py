"""What the outbox of a job store must answer and hold."""

from dataclasses import dataclass, field

from lorajobs.jobs import Job
from lorajobs.outbox import Delivery, DeliveryStatus, Verdict


@dataclass
class Webhook:
    """A delivery: where it stands and when it is due."""

    delivery: Delivery
    due_s: float
    status: DeliveryStatus = DeliveryStatus.PENDING


@dataclass
class OutboxLedger:
    """Every verb of the outbox as the store must do it; time is in seconds."""

    now_s: float = 0
    #: deliveries that couriers believe to hold
    hands: list[Delivery] = field(default_factory=list)
    #: those of every job that was not deleted
    hooks: dict[str, Webhook] = field(default_factory=dict)

    @property
    def pending(self) -> dict[str, Webhook]:
        """Those that are not settled."""
        return {n: h for n, h in self.hooks.items() if h.status is DeliveryStatus.PENDING}

    def deliveries(self, job_id: str) -> dict[str, tuple[DeliveryStatus, int]]:
        """A job's deliveries: where each stands and its tries."""
        found: dict[str, tuple[DeliveryStatus, int]] = {}
        for name, hook in self.hooks.items():
            if hook.delivery.job_id == job_id:
                found[name] = hook.status, hook.delivery.tries
        return found

    def announce(self, job: Job, event: str) -> None:
        webhook = job.spec.webhook
        if webhook is None or event not in webhook.events:
            return
        name = f"{job.id}.{event}"
        assert name not in self.hooks
        self.hooks[name] = Webhook(
            Delivery(name, job.id, webhook.url, f"job.{event}", 0), self.now_s
        )

    def forget(self, job_id: str) -> None:
        self.hooks = {n: h for n, h in self.hooks.items() if h.delivery.job_id != job_id}

    def due(self) -> set[str]:
        """The deliveries that a courier may have now."""
        return {name for name, hook in self.pending.items() if hook.due_s <= self.now_s}

    def hand_out(self, name: str, hold_s: float) -> Delivery:
        hook = self.hooks[name]
        hook.due_s = self.now_s + hold_s
        hook.delivery = hook.delivery._replace(tries=hook.delivery.tries + 1)
        self.hands.append(hook.delivery)
        return hook.delivery

    def hold(self, delivery: Delivery, hold_s: float) -> bool:
        hook = self.pending.get(delivery.id)
        if hook is None or hook.delivery.tries != delivery.tries:
            return False
        hook.due_s = self.now_s + hold_s
        return True

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        hook = self.pending.get(delivery.id)
        if hook is None:
            return
        if verdict.status is not DeliveryStatus.PENDING:
            hook.status = verdict.status
        elif hook.delivery.tries == delivery.tries:
            hook.due_s = self.now_s + verdict.retry_in_s

    def redeliver(self, name: str) -> str:
        """Returns its job."""
        hook = self.hooks[name]
        hook.status, hook.due_s = DeliveryStatus.PENDING, self.now_s
        hook.delivery = hook.delivery._replace(tries=0)
        return hook.delivery.job_id
