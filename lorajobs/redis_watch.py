"""What an operator asks, on Redis: lists that the scripts keep short, read in a few round trips."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import redis

from lorajobs.jobs import Job
from lorajobs.outbox import DeliveryRecord, DeliveryStatus
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_outbox import deliveries
from lorajobs.redis_record import load_job, load_place
from lorajobs.redis_scripts import load
from lorajobs.settings import Settings
from lorajobs.store_errors import RecordUnreadable
from lorajobs.timeline import Mark
from lorajobs.watch import Lately, Placed


class RedisWatch:
    """A Watch beside RedisJobStore, on the same keys."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix
        self._place = load(client, "place")["place"]

    def lately(self, workers: int, most: int) -> Lately:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrevrange(self._key("timelines"), 0, workers - 1)
            pipe.lrange(self._key("failed"), 0, most - 1)
            pipe.zrange(self._key("delayed"), 0, most - 1, withscores=True)
            pipe.lrange(self._key("undelivered"), 0, most - 1)
            pipe.zrange(self._key("outbox"), 0, most - 1)
            (seconds, micros), names, failed, delayed, undelivered, pending = pipe.execute()
        ready_ms = {job_id: int(ms) for job_id, ms in delayed}
        given_up, planned = self._deliveries(undelivered), self._deliveries(pending)
        return Lately(
            now_ms=seconds * 1000 + micros // 1000,
            marks=self._marks(names),
            failed=self._jobs(failed),
            delayed=[(job, ready_ms[job.id]) for job in self._jobs(list(ready_ms))],
            # One that was sent again by hand may be given up no more.
            undelivered=[r for r in given_up if r.status is DeliveryStatus.FAILED],
            retried=[r for r in planned if r.log],
        )

    def queued(self, model: str) -> Sequence[str]:
        with translated():
            waiting = self._redis.zrange(self._key("waiting", model), 0, -1)
            delayed = self._redis.zrange(self._key("delayed"), 0, -1)
        return [*waiting, *(job.id for job in self._jobs(delayed) if job.spec.model == model)]

    def line(self, model: str, window_us: int, most: int) -> Sequence[Placed]:
        with translated():
            ids = self._redis.zrange(self._key("waiting", model), 0, most - 1)
        jobs = self._jobs(ids)
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for job in jobs:
                self._place(args=[self._prefix, job.id, window_us], client=pipe)
            rows = pipe.execute()
        placed = [Placed(j, load_place(r)) for j, r in zip(jobs, rows, strict=True) if r]
        return sorted(placed, key=lambda one: one.place.position)

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    def _marks(self, workers: Sequence[str]) -> Mapping[str, Sequence[Mark]]:
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.xrange(self._key("timeline", worker))
            streams = pipe.execute()
        return {
            worker: [Mark.parse(int(name.split("-")[0]), row["mark"]) for name, row in stream]
            for worker, stream in zip(workers, streams, strict=True)
            if stream
        }

    def _jobs(self, ids: Sequence[str]) -> Sequence[Job]:
        """Those that are there and can be read, each once."""
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for job_id in dict.fromkeys(ids):
                pipe.hgetall(self._key("job", job_id))
            records = pipe.execute()
        jobs = []
        for record in filter(None, records):
            with suppress(RecordUnreadable):
                jobs.append(load_job(record))
        return jobs

    def _deliveries(self, names: Sequence[str]) -> Sequence[DeliveryRecord]:
        return deliveries(self._redis, self._prefix, list(dict.fromkeys(names)))


def open_watch(settings: Settings) -> RedisWatch:
    """The watch on the store that the settings name; opens no connection yet."""
    return RedisWatch(connect(settings.redis_url))
