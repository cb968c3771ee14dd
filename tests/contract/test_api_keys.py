"""What every store of API keys must do, in memory and on a real Valkey, and the ring before it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lorajobs.access_errors import KeyNotFound, KeyTaken
from lorajobs.api_keys import (
    Allowance,
    ApiKey,
    KeyRing,
    KeyStore,
    Scope,
    change,
    create,
    revoke,
    rotated,
)
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_client import connect
from lorajobs.redis_keys import RedisApiKeys
from lorajobs.spec import Webhook
from lorajobs.testing import ManualClock, MemoryApiKeys
from tests.services.server import free_ports

SCOPES = (Scope.SUBMIT, Scope.READ)


class Place(ABC):
    """A store of keys, its time, and all that it holds."""

    keys: KeyStore

    @abstractmethod
    def advance(self, key_id: str, seconds: int) -> None:
        """Lets a key's requests come back as if time had passed."""

    @abstractmethod
    def contents(self) -> str:
        """Everything that is stored."""

    @abstractmethod
    def close(self) -> None:
        """Leaves nothing behind."""


class InMemory(Place):
    def __init__(self) -> None:
        self._clock = ManualClock()
        self.memory = MemoryApiKeys(self._clock)
        self.keys = self.memory

    def advance(self, key_id: str, seconds: int) -> None:
        self._clock.advance(seconds)

    def contents(self) -> str:
        return repr(self.memory.all())

    def close(self) -> None:
        pass


class OnRedis(Place):
    PREFIX = "test-keys"

    def __init__(self, url: str) -> None:
        self._client = connect(url)
        self.close_keys()
        self.keys = RedisApiKeys(self._client, self.PREFIX)

    def advance(self, key_id: str, seconds: int) -> None:
        self._client.decrby(f"{self.PREFIX}:bucket:{key_id}", seconds * 1_000_000)

    def contents(self) -> str:
        return repr(self._client.hgetall(f"{self.PREFIX}:keys"))

    def close_keys(self) -> None:
        for name in self._client.scan_iter(f"{self.PREFIX}:*"):
            self._client.delete(name)

    def close(self) -> None:
        self.close_keys()
        self._client.close()


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    on_redis = request.param == "redis"
    opened = OnRedis(request.getfixturevalue("valkey_url")) if on_redis else InMemory()
    with closing(opened):
        yield opened


@pytest.fixture
def keys(place: Place) -> KeyStore:
    return place.keys


def test_a_key_is_found_by_its_secret_and_the_secret_is_kept_nowhere(place: Place) -> None:
    key, shown = create(place.keys, "anna", SCOPES, max_waiting=5, rate=60)
    assert (key.name, key.scopes, key.max_waiting, key.rate) == ("anna", SCOPES, 5, 60)
    assert place.keys.get(key.id) == key
    assert KeyRing(place.keys).find(shown) == key
    secret = shown.rpartition("_")[2]
    assert len(secret) >= 32 or "_" in shown[3:]
    assert shown not in place.contents()
    assert shown.split("_", 2)[2] not in place.contents()


def test_what_is_no_key_finds_none(keys: KeyStore) -> None:
    key, shown = create(keys, "anna", SCOPES)
    other, _ = create(keys, "ben", SCOPES)
    secret = shown.split("_", 2)[2]
    ring = KeyRing(keys)
    wrong = ["", "lj", "lj__", f"lj_{key.id}", f"lj_{key.id}_", f"lj_{other.id}_{secret}"]
    wrong += [shown[:-1], shown + "x", shown.upper(), f"xx_{key.id}_{secret}", f"lj_nix_{secret}"]
    wrong += [f"lj_{key.id}_ä\udcff", secret, key.digest, f"lj_{key.id}_{key.digest}"]
    assert [text for text in wrong if ring.find(text)] == []


def test_a_name_is_one_keys_until_that_is_revoked(keys: KeyStore) -> None:
    first, _ = create(keys, "anna", SCOPES)
    with pytest.raises(KeyTaken, match="'anna' already"):
        create(keys, "anna", SCOPES)
    # As after a lost reply.
    assert keys.add(first)
    revoke(keys, "anna")
    second, _ = create(keys, "anna", SCOPES)
    assert [key.id for key in keys.all()] in ([first.id, second.id], [second.id, first.id])
    assert second.id != first.id


def test_two_at_once_get_one_name_once(keys: KeyStore) -> None:
    def make(_: int) -> bool:
        try:
            create(keys, "anna", SCOPES)
        except KeyTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(16))) == 1


def test_a_revoked_key_is_good_no_more_and_stays_in_the_list(keys: KeyStore) -> None:
    key, shown = create(keys, "anna", SCOPES)
    ring = KeyRing(keys, kept_s=0)
    assert ring.find(shown)
    ended = revoke(keys, key.id)
    assert ended.revoked_ms
    assert ring.find(shown) is None
    assert keys.all() == [ended]
    with pytest.raises(KeyNotFound, match="in use are: none"):
        revoke(keys, "anna")
    assert change_once(keys, key.id) == ended


def change_once(keys: KeyStore, key_id: str) -> ApiKey | None:
    return keys.update(key_id, lambda key: key)


def test_what_is_changed_is_kept(keys: KeyStore) -> None:
    hook = Webhook(url="https://receiver.example/hook", events=("failed",))
    key, shown = create(keys, "anna", SCOPES, rate=60, webhook=hook)
    assert KeyRing(keys).find(shown) == key
    now = change(keys, "anna", lambda old: old.model_copy(update={"webhook": None}))
    assert now == key.model_copy(update={"webhook": None})
    assert [keys.get(key.id), *keys.all()] == [now, now]
    assert KeyRing(keys).find(shown) == now
    assert keys.update("nix", rotated) is None
    with pytest.raises(KeyNotFound, match="in use are: anna"):
        change(keys, "nix", rotated)


def test_no_change_is_lost_to_another(keys: KeyStore) -> None:
    key, _ = create(keys, "anna", SCOPES)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: change(keys, "anna", rotated), range(16)))
    now = change_once(keys, key.id)
    assert now
    assert now.rotations == 16


class Stale(MemoryApiKeys):
    """A store whose list is older than what it does."""

    def all(self) -> Sequence[ApiKey]:
        return [key.model_copy(update={"revoked_ms": None}) for key in super().all()]


def test_a_change_does_not_revive_a_key_that_was_ended_meanwhile() -> None:
    keys = Stale()
    create(keys, "anna", SCOPES)
    ended = revoke(keys, "anna")
    assert change(keys, "anna", rotated) == revoke(keys, "anna") == ended
    assert ended.revoked_ms


def test_the_root_of_secrets_is_made_once(keys: KeyStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        roots = set(pool.map(lambda _: keys.root(), range(16)))
    assert len(roots) == 1
    assert len(roots.pop()) >= 32


def test_revoking_the_last_key_opens_nothing(keys: KeyStore) -> None:
    ring = KeyRing(keys, kept_s=0)
    assert ring.is_empty()
    create(keys, "anna", SCOPES)
    assert not ring.is_empty()
    revoke(keys, "anna")
    assert not ring.is_empty()
    assert not KeyRing(keys).is_empty()


def test_a_ring_asks_again_once_its_answer_is_old(keys: KeyStore) -> None:
    now = 0.0
    ring = KeyRing(keys, kept_s=1, clock=lambda: now)
    assert ring.is_empty()
    key, shown = create(keys, "anna", SCOPES)
    assert ring.is_empty()
    assert ring.find(shown)
    revoke(keys, key.id)
    assert ring.find(shown)
    now = 1.0
    assert not ring.is_empty()
    assert ring.find(shown) is None


def test_so_many_requests_a_minute_and_no_more(place: Place) -> None:
    spend = place.keys.spend
    assert spend("k", 3) == Allowance(3, 2, 20, 0)
    assert [spend("k", 3).remaining for _ in range(2)] == [1, 0]
    refused = spend("k", 3)
    assert (refused.remaining, refused.retry_s, refused.reset_s) == (0, 20, 60)
    # Refused ones cost nothing, and another key has its own.
    assert spend("k", 3).retry_s == 20
    assert spend("other", 3).remaining == 2
    place.advance("k", 21)
    assert spend("k", 3).retry_s == 0
    assert spend("k", 3).retry_s == 19


@pytest.mark.parametrize("rate", [1, 7, 60, 1_000_000])
def test_a_burst_is_exactly_one_minutes(keys: KeyStore, rate: int) -> None:
    # A microsecond for each of a million: the clock itself gives some back meanwhile.
    tries = min(rate, 100)
    assert [keys.spend("k", rate).retry_s for _ in range(tries)] == [0] * tries
    assert (keys.spend("k", rate).retry_s > 0) == (rate < 1_000_000)


def test_many_at_once_get_no_more_than_there_is(keys: KeyStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        allowances = list(pool.map(lambda _: keys.spend("k", 10), range(40)))
    assert sorted(a.remaining for a in allowances if not a.retry_s) == list(range(10))


def test_a_redis_that_is_down_lets_nobody_in() -> None:
    port = free_ports(1)[0]
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0), decode_responses=True) as client:
        keys = RedisApiKeys(client)
        ring = KeyRing(keys)
        for ask in (ring.is_empty, lambda: ring.find("lj_a_b"), lambda: keys.spend("a", 1)):
            with pytest.raises(StoreUnavailable):
                ask()
