"""Awaited uploads on Redis, on the keys' schema of `lua/keys.lua`."""

from collections.abc import Sequence
from typing import Any

import redis

from lorajobs.adapters.awaited import AwaitedUpload
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_scripts import load
from lorajobs.settings import Settings


class RedisAwaited:
    """An AwaitedStore."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix
        self._hash, self._ends = f"{prefix}:awaited", f"{prefix}:incoming"
        scripts = load(client, "await_upload", "forget_upload")
        self._put, self._forget = scripts["await_upload"], scripts["forget_upload"]

    def put(self, upload: AwaitedUpload, keep_s: float) -> None:
        record = upload.model_dump_json()
        with translated():
            self._put(args=[self._prefix, upload.name, record, int(keep_s * 1000)])

    def get(self, *names: str) -> AwaitedUpload | None:
        with translated():
            texts = self._redis.hmget(self._hash, names)
        text = next(filter(None, texts), None)
        return None if text is None else AwaitedUpload.model_validate_json(text)

    def close(self, name: str) -> bool:
        with translated():
            return bool(self._redis.hdel(self._hash, name))

    def spent(self, limit: int) -> Sequence[str]:
        with translated():
            now = int(self._redis.time()[0]) * 1000
            names = self._redis.zrange(self._ends, 0, now, byscore=True, offset=0, num=limit)
        return [str(name) for name in names]

    def forget(self, name: str) -> bool:
        with translated():
            return bool(self._forget(args=[self._prefix, name]))


def open_awaited(settings: Settings) -> RedisAwaited:
    """What the store that the settings name awaits; opens no connection yet."""
    return RedisAwaited(connect(settings.redis_url))
