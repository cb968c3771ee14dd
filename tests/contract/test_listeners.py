"""What every board of listeners must do, in memory and on a real Valkey; the seats before it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from lorajobs.errors import StoreUnavailable
from lorajobs.listeners import TOLD_S, Listeners
from lorajobs.redis_client import connect
from lorajobs.redis_listeners import RedisListeners
from lorajobs.testing import ManualClock, MemoryListeners
from web.seats import Seats


class Place(ABC):
    """A board and its time."""

    board: Listeners

    @abstractmethod
    def advance(self, process: str, seconds: float) -> None:
        """Lets what a process told grow older."""

    @abstractmethod
    def close(self) -> None:
        """Leaves nothing behind."""


class InMemory(Place):
    def __init__(self) -> None:
        self._clock = ManualClock()
        self.board = MemoryListeners(self._clock)

    def advance(self, process: str, seconds: float) -> None:
        self._clock.advance(seconds)

    def close(self) -> None:
        pass


class OnRedis(Place):
    PREFIX = "test-listeners"

    def __init__(self, url: str) -> None:
        self._client: Any = connect(url)
        self.board = RedisListeners(self._client, self.PREFIX)

    def advance(self, process: str, seconds: float) -> None:
        name = f"{self.PREFIX}:listening:{process}"
        self._client.pexpire(name, self._client.pttl(name) - int(seconds * 1000))

    def close(self) -> None:
        for name in self._client.scan_iter(f"{self.PREFIX}:*"):
            self._client.delete(name)
        self._client.close()


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    on_redis = request.param == "redis"
    opened = OnRedis(request.getfixturevalue("valkey_url")) if on_redis else InMemory()
    with closing(opened):
        yield opened


def test_each_process_tells_its_own(place: Place) -> None:
    assert place.board.counts() == {}
    for process, count in (("a", 3), ("b", 1), ("a", 2)):
        place.board.tell(process, count)
    assert place.board.counts() == {"a": 2, "b": 1}
    place.board.tell("b", 0)
    assert place.board.counts() == {"a": 2}


def test_a_process_that_was_killed_is_forgotten(place: Place) -> None:
    place.board.tell("a", 2)
    place.advance("a", TOLD_S - 30)
    assert place.board.counts() == {"a": 2}
    place.board.tell("a", 2)
    place.advance("a", TOLD_S - 30)
    assert place.board.counts() == {"a": 2}
    place.advance("a", 31)
    assert place.board.counts() == {}


def test_seats_tell_what_is_taken_whoever_is_first(place: Place) -> None:
    seats = Seats(16, place.board)

    def sit(_: int) -> None:
        leave = seats.take()
        leave()
        leave()

    kept = [seats.take() for _ in range(3)]
    assert list(place.board.counts().values()) == [3]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sit, range(40)))
    assert list(place.board.counts().values()) == [3]
    for leave in kept:
        leave()
    assert place.board.counts() == {}


def test_a_long_listener_keeps_what_was_told(place: Place) -> None:
    now = 1000.0
    seats = Seats(16, place.board, clock=lambda: now)
    leave = seats.take()
    (process,) = place.board.counts()
    for _ in range(4):
        place.advance(process, TOLD_S / 2)
        now += TOLD_S / 2
        assert not seats.beat()
        assert place.board.counts() == {process: 1}
    leave()
    seats.close()
    assert seats.beat()


class Down(MemoryListeners):
    """A board that does not answer."""

    def tell(self, process: str, count: int) -> None:
        raise StoreUnavailable("Redis does not answer")


def test_nobody_fails_because_it_cannot_be_told() -> None:
    seats = Seats(1, Down())
    seats.take()()
    assert seats.taken == 0
    with pytest.raises(StoreUnavailable):
        RedisListeners(connect("redis://127.0.0.1:1")).counts()
