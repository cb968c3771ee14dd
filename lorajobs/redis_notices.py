"""The job store on Redis: its scripts, and who is alive."""

from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from typing import Any

import redis

from lorajobs.holdings import Holder, Holding
from lorajobs.redis_client import translated
from lorajobs.redis_record import dump_worker, load_worker
from lorajobs.redis_scripts import load
from lorajobs.store import WorkerState
from lorajobs.timeline import LEFT

PREFIX = "lorajobs"
#: Begins the member of a holding that is no adapter but its version.
_VERSION = "="

_SCRIPTS = ["submit", "cancel", "delete", "snapshot", "claim", "renew", "finish", "requeue"]
_SCRIPTS += ["outlook", "place", "refuse", "rescue", "deliveries", "hold", "settle", "redeliver"]
_SCRIPTS += ["mark"]


class RedisNotices:
    """The part of the job store that has nothing to do with queues."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix
        self._scripts = load(client, *_SCRIPTS)

    def _run(self, script: str, *argv: str | int) -> Any:  # noqa: ANN401
        with translated():
            return self._scripts[script](args=[self._prefix, *argv])

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    def keep(self, job_id: str, seconds: float) -> None:
        with translated():
            due_ms = (int(self._redis.time()[0]) + seconds) * 1000
            self._redis.zadd(self._key("kept"), {job_id: int(due_ms)}, xx=True)

    def put_worker(self, worker: WorkerState, ttl_s: float) -> None:
        told = dump_worker(worker)
        with translated(), self._redis.pipeline() as pipe:
            pipe.set(self._key("worker", worker.name), told, px=int(ttl_s * 1000), get=True)
            pipe.sadd(self._key("workers"), worker.name)
            if not worker.takes_jobs:
                # Nobody should leave its adapters' jobs to it.
                pipe.hdel(self._key("claim", worker.name), "group")
            before, *_ = pipe.execute()
        was = load_worker(before) if before else None
        if was is None or (was.state, was.model) != (worker.state, worker.model):
            self._run("mark", worker.name, worker.state, worker.model)

    def remove_worker(self, name: str) -> None:
        with translated():
            self._redis.delete(self._key("worker", name), self._key("memory", name))
        self._run("mark", name, LEFT, "")

    def workers(self) -> Sequence[WorkerState]:
        with translated():
            names = sorted(self._redis.smembers(self._key("workers")))
            states = self._redis.mget([self._key("worker", n) for n in names]) if names else []
            gone = [name for name, state in zip(names, states, strict=True) if state is None]
            if gone:
                self._redis.srem(self._key("workers"), *gone)
        return [load_worker(state) for state in states if state is not None]

    def put_held(self, holdings: Mapping[Holder, Holding], ttl_s: float) -> None:
        """Writes what changed; what did not is kept for longer, in one round trip for all."""
        ttl_ms, keys = int(ttl_s * 1000), {holder: self._key(*holder) for holder in holdings}
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for holder, holding in holdings.items():
                pipe.sismember(keys[holder], _VERSION + holding.version)
                pipe.pexpire(keys[holder], ttl_ms)
            told = dict(zip(holdings, pipe.execute()[::2], strict=True))
        # All processes that share a disk see the same folder: the first of them writes, and one
        # that overwrites it with what it saw before sees at its next look that it is another.
        for holder in (holder for holder in holdings if not told[holder]):
            with translated(), self._redis.pipeline() as pipe:
                pipe.unlink(keys[holder])
                pipe.sadd(keys[holder], *_members(holdings[holder]))
                pipe.pexpire(keys[holder], ttl_ms)
                pipe.execute()

    def held(
        self, holders: Sequence[Holder], among: Collection[str] | None = None
    ) -> Mapping[Holder, frozenset[str]]:
        names = None if among is None else list(among)
        if names == []:
            return {holder: frozenset() for holder in holders}
        with translated(), self._redis.pipeline(transaction=False) as pipe:
            for holder in holders:
                key = self._key(*holder)
                pipe.smembers(key) if names is None else pipe.smismember(key, names)
            answers = pipe.execute()
        if names is None:
            found = (frozenset(m for m in each if m[0] != _VERSION) for each in answers)
        else:
            found = (frozenset(compress(names, each)) for each in answers)
        return dict(zip(holders, found, strict=True))


def _members(holding: Holding) -> Sequence[str]:
    return (_VERSION + holding.version, *holding.adapters)
