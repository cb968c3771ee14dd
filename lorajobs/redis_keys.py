"""The API keys on Redis: their hashes, and what is left to each of its requests."""

import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import redis

from lorajobs.api_keys import Allowance, ApiKey
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.redis_scripts import load
from lorajobs.settings import Settings


class RedisApiKeys:
    """A KeyStore in one hash, on the keys' schema of `lua/keys.lua`."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix
        self._hash = f"{prefix}:keys"
        scripts = load(client, "add_key", "spend")
        self._add, self._spend = scripts["add_key"], scripts["spend"]

    def add(self, key: ApiKey) -> bool:
        with translated():
            record = key.model_dump_json()
            return bool(self._add(args=[self._prefix, key.id, record, key.name]))

    def get(self, key_id: str) -> ApiKey | None:
        with translated():
            text = self._redis.hget(self._hash, key_id)
        return None if text is None else ApiKey.model_validate_json(text)

    def all(self) -> Sequence[ApiKey]:
        with translated():
            texts = self._redis.hvals(self._hash)
        return sorted(map(ApiKey.model_validate_json, texts), key=lambda k: (k.created_ms, k.id))

    def update(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        def changed(pipe: Any) -> ApiKey | None:  # noqa: ANN401
            text = pipe.hget(self._hash, key_id)
            pipe.multi()
            if text is None:
                return None
            new = change(ApiKey.model_validate_json(text))
            pipe.hset(self._hash, key_id, new.model_dump_json())
            return new

        with translated():
            # Begins anew when somebody else has written to the hash meanwhile.
            new: ApiKey | None = self._redis.transaction(
                changed, self._hash, value_from_callable=True
            )
        return new

    def root(self) -> str:
        name = f"{self._prefix}:keys_root"
        with translated():
            self._redis.set(name, secrets.token_urlsafe(32), nx=True)
            return str(self._redis.get(name))

    def spend(self, key_id: str, per_minute: int) -> Allowance:
        with translated():
            left, full_us, one_us = self._spend(args=[self._prefix, key_id, per_minute])
        return Allowance(per_minute, left, _seconds(full_us), _seconds(one_us))


def _seconds(micros: int) -> int:
    return math.ceil(micros / 1_000_000)


def open_api_keys(settings: Settings) -> RedisApiKeys:
    """The keys of the store that the settings name; opens no connection yet."""
    return RedisApiKeys(connect(settings.redis_url))
