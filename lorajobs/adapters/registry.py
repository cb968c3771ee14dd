"""The registered adapters, as every process sees them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import redis

from lorajobs.redis_client import translated
from lorajobs.spec import Adapter, Frozen, Visibility


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
    #: the id of the API key that registered it, empty without one
    owner: str = ""
    #: a private one is there for its owner alone
    visibility: Visibility = "public"

    @property
    def name(self) -> str:
        """By what the registry knows it; no id has a colon."""
        return self.id if self.visibility == "public" else f"{self.owner}:{self.id}"


@lru_cache(maxsize=4096)
def _record(text: str) -> LoraRecord:
    """Of each submit's adapters, and seldom a new one."""
    return LoraRecord.model_validate_json(text)


class LoraRegistry(Protocol):
    """Records by name."""

    def get(self, *names: str) -> LoraRecord | None:
        """The record of the first of these names that has one."""

    def put(self, record: LoraRecord) -> None:
        """Writes a record, over an older one of its name."""

    def claim(self, record: LoraRecord) -> bool:
        """The same, unless the older one is another owner's and not configured."""

    def replace(self, old: LoraRecord, new: LoraRecord) -> bool:
        """Writes `new` only while `old` is still there, so that no removal is undone."""

    def remove(self, name: str) -> bool:
        """Forgets a record; False if there was none."""

    def all(self) -> Sequence[LoraRecord]:
        """Every record, by name."""


class RedisLoraRegistry:
    """Records in one hash of Redis; each verb raises StoreUnavailable."""

    KEY = "lorajobs:loras"
    #: KEYS[1] the hash; ARGV name, owner, record
    CLAIM = """
    local now = redis.call('HGET', KEYS[1], ARGV[1])
    local held = now and cjson.decode(now)
    if held and not held.configured and (held.owner or '') ~= ARGV[2] then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
    return 1
    """
    #: KEYS[1] the hash; ARGV name, old, new. A repetition after a lost reply says 1 again.
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
        self._claim = client.register_script(self.CLAIM)
        self._replace = client.register_script(self.REPLACE)

    def get(self, *names: str) -> LoraRecord | None:
        """The record of the first of these names that has one."""
        with translated():
            texts = self._client.hmget(self.KEY, names)
        text = next(filter(None, texts), None)
        return None if text is None else _record(text)

    def put(self, record: LoraRecord) -> None:
        """Writes a record, over an older one of its name."""
        with translated():
            self._client.hset(self.KEY, record.name, record.model_dump_json())

    def claim(self, record: LoraRecord) -> bool:
        """Writes a record, unless an older one is another owner's and not configured."""
        arguments = [record.name, record.owner, record.model_dump_json()]
        with translated():
            return bool(self._claim(keys=[self.KEY], args=arguments))

    def replace(self, old: LoraRecord, new: LoraRecord) -> bool:
        """Writes `new` only while `old` is still there."""
        arguments = [old.name, old.model_dump_json(), new.model_dump_json()]
        with translated():
            return bool(self._replace(keys=[self.KEY], args=arguments))

    def remove(self, name: str) -> bool:
        """Forgets a record; False if there was none."""
        with translated():
            return bool(self._client.hdel(self.KEY, name))

    def all(self) -> Sequence[LoraRecord]:
        """Every record, by name."""
        with translated():
            texts = self._client.hvals(self.KEY)
        records = map(_record, texts)
        return sorted(records, key=lambda record: record.name)


class MemoryLoraRegistry:
    """Records in this process, for tests."""

    def __init__(self) -> None:
        self._records: dict[str, LoraRecord] = {}

    def get(self, *names: str) -> LoraRecord | None:
        """The record of the first of these names that has one."""
        return next((self._records[name] for name in names if name in self._records), None)

    def put(self, record: LoraRecord) -> None:
        """Writes a record, over an older one of its name."""
        self._records[record.name] = record

    def claim(self, record: LoraRecord) -> bool:
        """Writes a record, unless an older one is another owner's and not configured."""
        held = self._records.get(record.name)
        if held and not held.configured and held.owner != record.owner:
            return False
        self._records[record.name] = record
        return True

    def replace(self, old: LoraRecord, new: LoraRecord) -> bool:
        """Writes `new` only while `old` is still there."""
        if self._records.get(old.name) not in (old, new):
            return False
        self._records[old.name] = new
        return True

    def remove(self, name: str) -> bool:
        """Forgets a record; False if there was none."""
        return self._records.pop(name, None) is not None

    def all(self) -> Sequence[LoraRecord]:
        """Every record, by name."""
        return sorted(self._records.values(), key=lambda record: record.name)
