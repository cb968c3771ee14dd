"""One suite for every registry of adapters."""

from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lorajobs.adapters.registry import (
    LoraRecord,
    LoraRegistry,
    MemoryLoraRegistry,
    RedisLoraRegistry,
)
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_client import connect
from lorajobs.spec import Adapter
from tests.services.server import free_ports

ADAPTER = Adapter(
    id="pixel",
    location="blob:" + "ab" * 32,
    revision="sha256:" + "ab" * 32,
    sha256="ab" * 32,
    bytes=123,
    weight_name="adapter_model.safetensors",
    peft_config={"r": 8, "lora_alpha": 0.1, "target_modules": ["to_q", "é"], "rank_pattern": {}},
    base="Base/Model",
    trusted=True,
)
RECORD = LoraRecord(
    id="pixel",
    source="/srv/loras/é",
    base="demo",
    weight_name="x.safetensors",
    scale=0.9,
    trigger_words=("pixel art", "8 bit"),
    license="mit",
    adapter=ADAPTER,
    state="1-2-3",
    created_ms=1_700_000_000_000,
)


@pytest.fixture(params=["memory", "redis"])
def registry(request: pytest.FixtureRequest) -> Iterator[LoraRegistry]:
    if request.param == "memory":
        yield MemoryLoraRegistry()
        return
    client = connect(request.getfixturevalue("valkey_url"))
    client.delete(RedisLoraRegistry.KEY)
    yield RedisLoraRegistry(client)
    client.delete(RedisLoraRegistry.KEY)
    client.close()


def test_a_record_comes_back_as_it_was(registry: LoraRegistry) -> None:
    plain = LoraRecord(id="plain", source="hf:a/b", base="demo", configured=True)
    for record in (RECORD, plain):
        registry.put(record)
        assert registry.get(record.id) == record
    assert registry.get("other") is None


def test_the_last_one_counts(registry: LoraRegistry) -> None:
    registry.put(RECORD)
    newer = RECORD.model_copy(update={"scale": 0.5})
    registry.put(newer)
    assert registry.get("pixel") == newer
    assert registry.all() == [newer]


def test_all_are_listed_by_id(registry: LoraRegistry) -> None:
    assert registry.all() == []
    records = [RECORD.model_copy(update={"id": name}) for name in ("b", "c", "a")]
    for record in records:
        registry.put(record)
    assert [record.id for record in registry.all()] == ["a", "b", "c"]


def test_a_removed_record_is_gone(registry: LoraRegistry) -> None:
    registry.put(RECORD)
    assert registry.remove("pixel")
    assert registry.get("pixel") is None
    assert not registry.remove("pixel")


def test_only_the_expected_record_is_replaced(registry: LoraRegistry) -> None:
    newer = RECORD.model_copy(update={"state": "4-5-6"})
    other = RECORD.model_copy(update={"state": "7-8-9"})
    assert not registry.replace(RECORD, newer)
    assert registry.get("pixel") is None
    registry.put(RECORD)
    assert registry.replace(RECORD, newer)
    assert registry.get("pixel") == newer
    assert registry.replace(RECORD, newer)  # said again after a lost reply
    assert not registry.replace(RECORD, other)
    assert registry.get("pixel") == newer


def test_a_record_read_from_redis_is_the_one_to_replace(registry: LoraRegistry) -> None:
    registry.put(RECORD)
    read = registry.get("pixel")
    assert read is not None
    assert registry.replace(read, read.model_copy(update={"scale": 1.5}))


def test_a_redis_that_is_down_is_reported() -> None:
    port = free_ports(1)[0]
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
        gone = RedisLoraRegistry(client)
        with pytest.raises(StoreUnavailable):
            gone.get("pixel")
        with pytest.raises(StoreUnavailable):
            gone.put(RECORD)
        with pytest.raises(StoreUnavailable):
            gone.replace(RECORD, RECORD)
        with pytest.raises(StoreUnavailable):
            gone.remove("pixel")
        with pytest.raises(StoreUnavailable):
            gone.all()


def test_a_private_record_has_a_name_of_its_own(registry: LoraRegistry) -> None:
    private = RECORD.model_copy(update={"owner": "anna", "visibility": "private"})
    assert (private.name, RECORD.name) == ("anna:pixel", "pixel")
    registry.put(RECORD)
    registry.put(private)
    assert registry.get("anna:pixel", "pixel") == private
    assert registry.get("ben:pixel", "pixel") == RECORD
    assert registry.get("ben:pixel", "nix") is None
    assert registry.all() == [private, RECORD]
    assert registry.replace(private, private.model_copy(update={"scale": 0.1}))
    assert registry.get("pixel") == RECORD
    assert registry.remove("anna:pixel")
    assert registry.all() == [RECORD]


def test_a_name_is_claimed_from_nobody_else(registry: LoraRegistry) -> None:
    anna, ben = (RECORD.model_copy(update={"owner": owner}) for owner in ("anna", "ben"))
    assert registry.claim(anna)
    assert not registry.claim(ben)
    assert registry.claim(anna.model_copy(update={"scale": 0.3}))
    assert registry.get("pixel") == anna.model_copy(update={"scale": 0.3})
    assert not registry.claim(RECORD)
    # What a former file left there is nobody's.
    registry.put(RECORD.model_copy(update={"configured": True}))
    assert registry.claim(ben)
    assert registry.get("pixel") == ben
