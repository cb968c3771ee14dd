"""The registered adapters, as every process sees them."""

from collections.abc import Sequence
from typing import Any, Protocol

import redis

from lorajobs.jobs import Adapter, Frozen
from lorajobs.redis_client import translated


class LoraRecord(Frozen):
    """An adapter under an id: what was said of it, and the version it is pinned to."""

    id: str
    #: a reference
    source: str
    #: id of its base model
    base: str
    weight_name: str | None = None
    #: used where a job gives none
    scale: float = 1.0
    trigger_words: tuple[str, ...] = ()
    license: str | None = None
    #: the pinned version; None until a configured adapter is first used
    adapter: Adapter | None = None
    #: of a file on the server: another text means that it has changed since
    state: str | None = None
    #: True if `lorajobs.toml` names it, so that the API cannot change it
    configured: bool = False
    #: Unix milliseconds of its registration; None if configured
    created_ms: int | None = None


class LoraRegistry(Protocol):
    """Records by id."""

    def get(self, lora_id: str) -> LoraRecord | None:
        """The record of this id."""

    def put(self, record: LoraRecord) -> None:
        """Writes a record, over an older one of its id."""

    def replace(self, old: LoraRecord, new: LoraRecord) -> bool:
        """Writes `new` only while `old` is still there, so that no removal is undone."""

    def remove(self, lora_id: str) -> bool:
        """Forgets a record; False if there was none."""

    def all(self) -> Sequence[LoraRecord]:
        """Every record, by id."""


class RedisLoraRegistry:
    """Records in one hash of Redis; each verb raises StoreUnavailable."""

    KEY = "lorajobs:loras"
    #: KEYS[1] the hash; ARGV id, old, new. A repetition after a lost reply says 1 again.
    REPLACE = """
    local now = redis.call('HGET', KEYS[1], ARGV[1])
    if now == ARGV[3] then return 1 end
    if now ~= ARGV[2] then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
    return 1
    """

    def __init__(self, client: redis.Redis) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._client: Any = client
        self._replace = client.register_script(self.REPLACE)

    def get(self, lora_id: str) -> LoraRecord | None:
        """The record of this id."""
        with translated():
            text = self._client.hget(self.KEY, lora_id)
        return None if text is None else LoraRecord.model_validate_json(text)

    def put(self, record: LoraRecord) -> None:
        """Writes a record, over an older one of its id."""
        with translated():
            self._client.hset(self.KEY, record.id, record.model_dump_json())

    def replace(self, old: LoraRecord, new: LoraRecord) -> bool:
        """Writes `new` only while `old` is still there."""
        arguments = [old.id, old.model_dump_json(), new.model_dump_json()]
        with translated():
            return bool(self._replace(keys=[self.KEY], args=arguments))

    def remove(self, lora_id: str) -> bool:
        """Forgets a record; False if there was none."""
        with translated():
            return bool(self._client.hdel(self.KEY, lora_id))

    def all(self) -> Sequence[LoraRecord]:
        """Every record, by id."""
        with translated():
            texts = self._client.hvals(self.KEY)
        records = map(LoraRecord.model_validate_json, texts)
        return sorted(records, key=lambda record: record.id)


class MemoryLoraRegistry:
    """Records in this process, for tests."""

    def __init__(self) -> None:
        self._records: dict[str, LoraRecord] = {}

    def get(self, lora_id: str) -> LoraRecord | None:
        """The record of this id."""
        return self._records.get(lora_id)

    def put(self, record: LoraRecord) -> None:
        """Writes a record, over an older one of its id."""
        self._records[record.id] = record

    def replace(self, old: LoraRecord, new: LoraRecord) -> bool:
        """Writes `new` only while `old` is still there."""
        if self._records.get(old.id) not in (old, new):
            return False
        self._records[old.id] = new
        return True

    def remove(self, lora_id: str) -> bool:
        """Forgets a record; False if there was none."""
        return self._records.pop(lora_id, None) is not None

    def all(self) -> Sequence[LoraRecord]:
        """Every record, by id."""
        return sorted(self._records.values(), key=lambda record: record.id)
