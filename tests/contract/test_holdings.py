"""What workers tell of memories and disks, on memory and on a real Valkey."""

import hashlib
from collections.abc import Iterator
from contextlib import closing

import pytest

from lorajobs.holdings import Holder, Holding, short
from lorajobs.redis_store import RedisJobStore
from lorajobs.store import WorkerState
from tests.backends import Backend, MemoryBackend, RedisBackend, Store

MEMORY, DISK = Holder("memory", "w1"), Holder("disk", "host:1-2")
SHAS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(5)]
NAMES = [short(sha256) for sha256 in SHAS]


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    opened: Backend = MemoryBackend()
    if request.param == "redis":
        opened = RedisBackend(request.getfixturevalue("valkey_url"))
    with closing(opened):
        yield opened


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture
def redis_backend(valkey_url: str) -> Iterator[RedisBackend]:
    with closing(RedisBackend(valkey_url)) as opened:
        yield opened


def test_what_was_told_is_there_whole_or_of_what_is_asked(store: Store) -> None:
    store.put_held({MEMORY: Holding.of(SHAS[:2]), DISK: Holding.of(SHAS[1:])}, 60)
    assert store.held([MEMORY, DISK]) == {MEMORY: set(NAMES[:2]), DISK: set(NAMES[1:])}
    among = [NAMES[0], NAMES[2], "elsewhere"]
    assert store.held([DISK, MEMORY], among) == {DISK: {NAMES[2]}, MEMORY: {NAMES[0]}}
    assert store.held([DISK], []) == {DISK: set()}
    assert store.held([]) == {}


def test_nobody_has_what_nobody_told(store: Store) -> None:
    assert store.held([MEMORY]) == {MEMORY: set()}
    assert store.held([MEMORY], NAMES) == {MEMORY: set()}


def test_what_is_told_anew_replaces_what_was_told(store: Store) -> None:
    for shas in (SHAS[:3], SHAS[2:], [], SHAS[:1]):
        store.put_held({DISK: Holding.of(shas)}, 60)
        assert store.held([DISK]) == {DISK: {short(sha256) for sha256 in shas}}


def test_a_worker_that_leaves_has_no_memory_but_the_disk_stays(store: Store) -> None:
    store.put_worker(WorkerState("w1", "demo", "warm", (), None), 60)
    store.put_held({MEMORY: Holding.of(SHAS), DISK: Holding.of(SHAS)}, 60)
    store.remove_worker("w1")
    assert store.held([MEMORY, DISK]) == {MEMORY: set(), DISK: set(NAMES)}


def test_what_is_told_no_more_is_forgotten() -> None:
    backend = MemoryBackend()
    backend.store.put_held({MEMORY: Holding.of(SHAS), DISK: Holding.of(SHAS)}, 6)
    backend.advance(5)
    backend.store.put_held({DISK: Holding.of(SHAS)}, 6)
    backend.advance(5)
    assert backend.store.held([MEMORY, DISK]) == {MEMORY: set(), DISK: set(NAMES)}


def test_on_a_server_too(redis_backend: RedisBackend) -> None:
    client, store, prefix = redis_backend.client, redis_backend.store, redis_backend.prefix
    for ttl_s, shas in ((6, SHAS), (60, SHAS), (6, SHAS), (60, [])):
        store.put_held({DISK: Holding.of(shas)}, ttl_s)
        left_ms = client.pttl(f"{prefix}:disk:{DISK.name}")
        assert 1000 * ttl_s / 2 < left_ms <= 1000 * ttl_s


def test_one_of_those_who_share_a_disk_writes_and_only_what_is_new(
    redis_backend: RedisBackend,
) -> None:
    client, prefix = redis_backend.client, redis_backend.prefix
    stores = [redis_backend.store, RedisJobStore(client, prefix=prefix)]
    key = f"{prefix}:disk:{DISK.name}"
    stores[0].put_held({DISK: Holding.of(SHAS)}, 60)
    # Who writes it again would undo this.
    client.sadd(key, "mark")
    for store in stores:
        store.put_held({DISK: Holding.of(SHAS[::-1])}, 60)
    assert client.sismember(key, "mark")
    stores[1].put_held({DISK: Holding.of(SHAS[1:])}, 60)
    assert not client.sismember(key, "mark")
    # One that looked at the folder before puts it right at its next look.
    stores[0].put_held({DISK: Holding.of(SHAS)}, 60)
    stores[0].put_held({DISK: Holding.of(SHAS[1:])}, 60)
    assert stores[1].held([DISK]) == {DISK: set(NAMES[1:])}


def test_a_server_that_forgot_is_told_again(redis_backend: RedisBackend) -> None:
    store = redis_backend.store
    store.put_held({DISK: Holding.of(SHAS)}, 60)
    redis_backend.client.delete(f"{redis_backend.prefix}:disk:{DISK.name}")
    store.put_held({DISK: Holding.of(SHAS)}, 60)
    assert store.held([DISK]) == {DISK: set(NAMES)}
