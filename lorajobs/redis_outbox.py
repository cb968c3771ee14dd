"""The outbox of webhooks on Redis."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorajobs.outbox import (
    Delivery,
    DeliveryNotFound,
    DeliveryRecord,
    DeliveryStatus,
    Try,
    Verdict,
)
from lorajobs.redis_client import translated
from lorajobs.redis_notices import RedisNotices


class RedisOutbox(RedisNotices):
    """Outbox and DeliveryLog, beside the jobs whose scripts fill it."""

    def due_deliveries(
        self, limit: int, hold_s: float, per_host: int | None = None
    ) -> Sequence[Delivery]:
        rows = self._run("deliveries", limit, int(hold_s * 1000), per_host or "")
        return [Delivery(d, job, url, event, int(tries)) for d, job, url, event, tries in rows]

    def hold(self, delivery: Delivery, seconds: float) -> bool:
        return bool(self._run("hold", delivery.id, delivery.tries, int(seconds * 1000)))

    def settle(self, delivery: Delivery, verdict: Verdict) -> None:
        retry_ms = int(verdict.retry_in_s * 1000)
        self._run("settle", delivery.id, delivery.tries, verdict.result, verdict.status, retry_ms)

    def deliveries(self, job_id: str) -> Sequence[DeliveryRecord]:
        with translated():
            names = self._redis.zrange(self._key("deliveries", job_id), 0, -1)
        return deliveries(self._redis, self._prefix, names)

    def redeliver(self, job_id: str, delivery_id: str) -> DeliveryRecord:
        if not self._run("redeliver", job_id, delivery_id):
            raise DeliveryNotFound(f"the job has no delivery {delivery_id!r}")
        return next(r for r in self.deliveries(job_id) if r.delivery.id == delivery_id)


def deliveries(client: Any, prefix: str, names: Sequence[str]) -> Sequence[DeliveryRecord]:  # noqa: ANN401
    """Those of these webhooks that are there, as their log shows them.

    Raises: StoreUnavailable.
    """
    with translated(), client.pipeline() as pipe:
        for name in names:
            pipe.hgetall(f"{prefix}:delivery:{name}")
            pipe.zscore(f"{prefix}:outbox", name)
            pipe.lrange(f"{prefix}:tries:{name}", 0, -1)
        found = pipe.execute()
    rows = zip(names, found[::3], found[1::3], found[2::3], strict=True)
    return [_record(name, *row) for name, *row in rows if row[0]]


def _record(
    name: str, fields: Mapping[str, str], due_ms: float | None, log: Sequence[str]
) -> DeliveryRecord:
    delivery = Delivery(name, fields["job"], fields["url"], fields["event"], int(fields["tries"]))
    tries = (row.partition(" ") for row in log)
    return DeliveryRecord(
        delivery,
        DeliveryStatus(fields["status"]),
        None if due_ms is None else int(due_ms),
        [Try(int(at_ms), result) for at_ms, _, result in tries],
    )
