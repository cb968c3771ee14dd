"""Who listens, on Redis."""

from collections.abc import Mapping
from typing import Any

import redis

from lorajobs.listeners import TOLD_S
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.settings import Settings


class RedisListeners:
    """Listeners on the keys' schema of `lua/keys.lua`."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._names = f"{prefix}:listening"

    def tell(self, process: str, count: int) -> None:
        with translated(), self._redis.pipeline() as pipe:
            if count:
                pipe.set(f"{self._names}:{process}", count, px=int(TOLD_S * 1000))
                pipe.sadd(self._names, process)
            else:
                pipe.delete(f"{self._names}:{process}")
                pipe.srem(self._names, process)
            pipe.execute()

    def counts(self) -> Mapping[str, int]:
        with translated():
            names = sorted(self._redis.smembers(self._names))
            told = self._redis.mget([f"{self._names}:{n}" for n in names]) if names else []
            found = dict(zip(names, told, strict=True))
            if gone := [name for name, count in found.items() if count is None]:
                self._redis.srem(self._names, *gone)
        return {name: int(count) for name, count in found.items() if count is not None}


def open_listeners(settings: Settings) -> RedisListeners:
    """Those of the store that the settings name; opens no connection yet."""
    return RedisListeners(connect(settings.redis_url))
