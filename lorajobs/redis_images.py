"""Uploaded pictures on Redis: a record each that expires, and an index of objects to erase."""

from collections.abc import Sequence
from typing import Any

import redis

from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.settings import Settings
from lorajobs.uploaded_images import UploadedImage


class RedisImages:
    """An ImageRecords beside RedisJobStore."""

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix
        self._erasures = f"{prefix}:images"

    def find(self, owner: str, sha256: str) -> UploadedImage | None:
        with translated():
            found = self._redis.get(self._record(owner, sha256))
        return UploadedImage.model_validate_json(found) if found else None

    def put(self, image: UploadedImage, ttl_s: float) -> UploadedImage:
        ttl_ms = int(ttl_s * 1000)
        with translated():
            kept = image.model_copy(update={"expires_ms": self._now_ms() + ttl_ms})
            name = self._record(image.owner, image.sha256)
            self._redis.set(name, kept.model_dump_json(), px=ttl_ms)
        return kept

    def remove(self, image: UploadedImage) -> None:
        with translated():
            self._redis.zadd(self._erasures, {image.key: self._now_ms()})
            self._redis.delete(self._record(image.owner, image.sha256))

    def expect(self, key: str, after_s: float) -> None:
        with translated():
            self._redis.zadd(self._erasures, {key: self._now_ms() + int(after_s * 1000)})

    def due(self, limit: int) -> Sequence[str]:
        with translated():
            keys = self._redis.zrange(
                self._erasures, 0, self._now_ms(), byscore=True, offset=0, num=limit
            )
        return [str(key) for key in keys]

    def forget(self, key: str) -> None:
        with translated():
            self._redis.zrem(self._erasures, key)

    def _record(self, owner: str, sha256: str) -> str:
        return f"{self._prefix}:image:{owner}:{sha256}"

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def open_image_records(settings: Settings) -> RedisImages:
    """The records of the store that the settings name; opens no connection yet."""
    return RedisImages(connect(settings.redis_url))
