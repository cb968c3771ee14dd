"""What was used, read from where `finish.lua` adds it up."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis

from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.settings import Settings
from lorajobs.usage import Period, Usage, UsageBy


class RedisUsage:
    """A UsageKeeper beside RedisJobStore, on the same keys."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix

    def usage(
        self, by: UsageBy, owner: str | None, period: Period | None = None
    ) -> Sequence[Usage]:
        sums: dict[str, dict[str, int]] = defaultdict(dict)
        for user, counters in self._counters(owner, period):
            for field, count in counters.items():
                kind, what, name = field.split(" ", 2)
                if kind == by:
                    of = sums[user if by == "key" else name]
                    of[what] = of.get(what, 0) + int(count)
        return [
            Usage(name, of["jobs"], of["pictures"], of["gpu_ms"] / 1000)
            for name, of in sorted(sums.items())
        ]

    def _counters(
        self, owner: str | None, period: Period | None
    ) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Each key's own, of each day if there is a period, with the key's id."""
        with translated():
            users = self._redis.smembers(f"{self._prefix}:users") if owner is None else [owner]
        parts = [""] if period is None else [f":{day}" for day in period.days]
        for user in users:
            with translated(), self._redis.pipeline(transaction=False) as pipe:
                for part in parts:
                    pipe.hgetall(f"{self._prefix}:usage:{user}{part}")
                found = pipe.execute()
            yield from ((user, counters) for counters in found)


def open_usage(settings: Settings) -> RedisUsage:
    """The usage of the store that the settings name; opens no connection yet."""
    return RedisUsage(connect(settings.redis_url))
