"""What every store of awaited uploads must do, in memory and on a real Valkey."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lorajobs.adapters.awaited import AwaitedStore, AwaitedUpload, key_of, sweep
from lorajobs.adapters.registry import LoraRecord
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_awaited import RedisAwaited
from lorajobs.redis_client import connect
from lorajobs.storage.folder import FolderStore
from lorajobs.testing import ManualClock, MemoryAwaited


class Place(ABC):
    """A store and its time."""

    store: AwaitedStore

    @abstractmethod
    def advance(self, seconds: int) -> None:
        """Brings every end nearer."""

    @abstractmethod
    def close(self) -> None:
        """Leaves nothing behind."""


class InMemory(Place):
    def __init__(self) -> None:
        self._clock = ManualClock()
        self.store = MemoryAwaited(self._clock)

    def advance(self, seconds: int) -> None:
        self._clock.advance(seconds)

    def close(self) -> None:
        pass


class OnRedis(Place):
    PREFIX = "test-awaited"

    def __init__(self, url: str) -> None:
        self._client: Any = connect(url)
        self._clear()
        self.store = RedisAwaited(self._client, self.PREFIX)

    def advance(self, seconds: int) -> None:
        ends = f"{self.PREFIX}:incoming"
        for name in list(self._client.zrange(ends, 0, -1)):
            self._client.zincrby(ends, -1000 * seconds, name)

    def _clear(self) -> None:
        self._client.delete(f"{self.PREFIX}:incoming", f"{self.PREFIX}:awaited")

    def close(self) -> None:
        self._clear()
        self._client.close()


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    on_redis = request.param == "redis"
    opened = OnRedis(request.getfixturevalue("valkey_url")) if on_redis else InMemory()
    with closing(opened):
        yield opened


def upload(lora_id: str = "heart", owner: str = "", size: int = 5) -> AwaitedUpload:
    visible = "private" if owner else "public"
    record = LoraRecord(id=lora_id, source="", base="demo", owner=owner, visibility=visible)
    return AwaitedUpload(record=record, bytes=size, sha256="0" * 64)


def test_the_first_name_that_has_one_is_found(place: Place) -> None:
    mine, open_to_all = upload(owner="anna"), upload()
    assert place.store.get("anna:heart", "heart") is None
    for one in (mine, open_to_all):
        place.store.put(one, 60)
    assert place.store.get("anna:heart", "heart") == mine
    assert place.store.get("ben:heart", "heart") == open_to_all
    assert mine.key != open_to_all.key


def test_the_same_name_again_begins_anew(place: Place) -> None:
    place.store.put(upload(), 60)
    place.advance(50)
    place.store.put(upload(size=7), 60)
    place.advance(50)
    assert place.store.get("heart") == upload(size=7)
    assert place.store.spent(10) == []
    assert not place.store.forget("heart")
    assert place.store.get("heart") == upload(size=7)


def test_what_is_spent_is_told_until_it_is_forgotten(place: Place) -> None:
    for name, seconds in (("a", 30), ("b", 20), ("c", 90)):
        place.store.put(upload(name), seconds)
    assert place.store.spent(10) == []
    place.advance(60)
    assert place.store.spent(10) == ["b", "a"]
    assert place.store.spent(1) == ["b"]
    assert place.store.forget("b")
    assert not place.store.forget("b")
    assert place.store.get("b") is None
    assert place.store.spent(10) == ["a"]
    assert place.store.get("c")


def test_what_is_closed_is_still_spent_at_its_time(place: Place) -> None:
    place.store.put(upload(), 60)
    assert place.store.close("heart")
    assert not place.store.close("heart")
    assert place.store.get("heart") is None
    place.advance(61)
    assert place.store.spent(10) == ["heart"]
    assert place.store.forget("heart")
    assert place.store.spent(10) == []


def test_files_that_were_never_registered_are_erased(place: Place, tmp_path: Path) -> None:
    objects = FolderStore(tmp_path, "https://api.example", 60)
    left, later = upload("left"), upload("later")
    place.store.put(left, 60)
    place.store.put(later, 120)
    for one in (left, later):
        objects.put(one.key, b"data", "application/octet-stream")
    place.store.put(upload("never-sent"), 60)
    place.advance(61)
    sweep(place.store, objects, 1)
    assert len(place.store.spent(10)) == 1
    sweep(place.store, objects, 10)
    assert place.store.spent(10) == []
    assert not objects.exists(left.key)
    assert objects.exists(later.key)
    assert place.store.get("later") == later


class Stuck(FolderStore):
    """A store in which one object cannot be erased."""

    def delete(self, prefix: str) -> None:
        if prefix == key_of("stuck"):
            raise OSError("permission denied")
        super().delete(prefix)


def test_a_file_that_cannot_be_erased_holds_up_no_other(place: Place, tmp_path: Path) -> None:
    for name, seconds in (("stuck", 10), ("other", 20)):
        place.store.put(upload(name), seconds)
    place.advance(30)
    sweep(place.store, Stuck(tmp_path, "https://api.example", 60), 10)
    assert place.store.spent(10) == ["stuck"]


def test_a_redis_that_is_down_is_reported() -> None:
    store = RedisAwaited(connect("redis://127.0.0.1:1"))
    for ask in (lambda: store.get("a"), lambda: store.put(upload(), 1), lambda: store.spent(1)):
        with pytest.raises(StoreUnavailable):
            ask()
