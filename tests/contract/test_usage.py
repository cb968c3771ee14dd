"""What was used, in memory and on a real Valkey."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta

import pytest

from lorajobs.errors import StoreUnavailable, WorkerLost
from lorajobs.jobs import AppliedLora, JobStatus, Metrics, Outcome, Withheld
from lorajobs.redis_client import connect
from lorajobs.redis_usage import RedisUsage
from lorajobs.store import JobStore
from lorajobs.usage import KEPT_DAYS, Period, Usage, UsageKeeper, day_of, first_day_kept, gpu_s
from tests.backends import Backend, MemoryBackend, RedisBackend
from tests.jobs import a_job, an_output, lease_of

TOOK = Metrics(queue_s=9.0, base_s=1.0, fetch_s=5.0, swap_s=0.25, generate_s=2.0, upload_s=3.0)


@pytest.fixture(params=["memory", "redis"])
def kept(request: pytest.FixtureRequest) -> Iterator[tuple[Backend, UsageKeeper]]:
    if request.param == "memory":
        memory = MemoryBackend()
        yield memory, memory.memory.used
        return
    backend = RedisBackend(request.getfixturevalue("valkey_url"))
    yield backend, RedisUsage(backend.client, backend.prefix)
    backend.close()


class Days(ABC):
    """A backend whose days pass."""

    backend: Backend
    keeper: UsageKeeper
    today: date

    @abstractmethod
    def pass_one(self) -> None:
        """Lets what comes be of another day than what came."""

    def close(self) -> None:
        """Leaves nothing behind."""
        self.backend.close()


class InMemory(Days):
    def __init__(self) -> None:
        memory = MemoryBackend()
        self.backend, self.keeper = memory, memory.memory.used
        self.today = day_of(memory.memory.clock_ms())

    def pass_one(self) -> None:
        self.backend.advance(86_400)


class OnRedis(Days):
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._redis = RedisBackend(request.getfixturevalue("valkey_url"))
        self.backend = self._redis
        self.keeper = RedisUsage(self._redis.client, self._redis.prefix)
        self.today = self._server_day()

    def _server_day(self) -> date:
        return day_of(1000 * int(self._redis.client.time()[0]))

    def pass_one(self) -> None:
        # The server's clock is nobody's to set: what it has becomes the day before's.
        number = (self._server_day() - date(1970, 1, 1)).days
        for name in self._redis.client.keys(f"{self._redis.prefix}:usage:*:{number}"):
            self._redis.client.rename(name, f"{name.rpartition(':')[0]}:{number - 1}")
        self.today = self._server_day() - timedelta(1)


def loras(*names: str) -> tuple[AppliedLora, ...]:
    return tuple(AppliedLora(id=name, revision="r", sha256=name, scale=1) for name in names)


def end(backend: Backend, owner: str, outcome: Outcome, model: str = "demo") -> str:
    job = a_job(owner=owner, model=model)
    backend.store.submit(job, None)
    lease = lease_of(backend.store.claim(model, job.id, "w", f"ticket of {job.id}"))
    assert lease
    assert backend.store.finish(lease, outcome)
    # A lost reply: the same words again are not counted again.
    assert backend.store.finish(lease, outcome)
    return job.id


def done(pictures: int, *names: str) -> Outcome:
    # A withheld picture took its time, but nobody has it.
    outputs = (
        Withheld(index=0, width=8, height=8, seed=7),
        *(an_output(index=1 + index) for index in range(pictures)),
    )
    return Outcome(
        status=JobStatus.SUCCEEDED, outputs=outputs, applied_loras=loras(*names), metrics=TOOK
    )


def test_the_gpu_is_used_to_load_to_swap_to_generate_and_to_check() -> None:
    assert gpu_s(done(1)) == 3.25
    assert gpu_s(Outcome(status=JobStatus.SUCCEEDED, metrics=Metrics(check_s=0.5))) == 0.5
    assert gpu_s(Outcome(status=JobStatus.CANCELED)) == 0


def test_use_is_added_up_by_key_adapter_and_model(kept: tuple[Backend, UsageKeeper]) -> None:
    backend, keeper = kept
    assert keeper.usage("key", None) == []
    first = end(backend, "anna", done(2, "pixel", "a name of words"))
    end(backend, "anna", done(1, "pixel"), "other")
    end(backend, "ben", done(4))
    failed = Outcome(
        status=JobStatus.FAILED, error=WorkerLost("x").as_job_error(), metrics=Metrics(swap_s=0.5)
    )
    end(backend, "", failed)
    assert keeper.usage("key", None) == [
        Usage("", 1, 0, 0.5),
        Usage("anna", 2, 3, 6.5),
        Usage("ben", 1, 4, 3.25),
    ]
    assert keeper.usage("adapter", None) == [
        Usage("a name of words", 1, 2, 3.25),
        Usage("pixel", 2, 3, 6.5),
    ]
    assert keeper.usage("model", None) == [Usage("demo", 3, 6, 7.0), Usage("other", 1, 1, 3.25)]
    assert keeper.usage("model", "anna") == [Usage("demo", 1, 2, 3.25), Usage("other", 1, 1, 3.25)]
    assert keeper.usage("adapter", "ben") == []
    assert keeper.usage("key", "ben") == [Usage("ben", 1, 4, 3.25)]
    # What is erased was used.
    backend.store.delete(first)
    assert keeper.usage("key", "anna") == [Usage("anna", 2, 3, 6.5)]


def test_the_secrets_of_a_reference_are_not_in_its_name(kept: tuple[Backend, UsageKeeper]) -> None:
    backend, keeper = kept
    end(backend, "anna", done(1, "https://me:pw@host/a.safetensors?token=hush"))
    (used,) = keeper.usage("adapter", "anna")
    assert used.name == "https://host/a.safetensors?…"


def test_what_no_worker_ended_used_nothing(kept: tuple[Backend, UsageKeeper]) -> None:
    backend, keeper = kept
    store: JobStore = backend.store
    waiting = a_job(owner="anna")
    store.submit(waiting, None)
    store.cancel(waiting.id)
    lost = a_job(owner="anna")
    store.submit(lost, None)
    lease = lease_of(backend.store.claim("demo", lost.id, "w", "t"))
    assert lease
    backend.expire_leases()
    backend.store.rescue()
    # The attempt that lost its lease counts for nothing, the one that ends the job does.
    assert not backend.store.finish(lease, done(1))
    assert keeper.usage("key", None) == []
    again = lease_of(backend.store.claim("demo", lost.id, "w", "t2"))
    assert again
    assert backend.store.finish(again, done(1))
    assert keeper.usage("key", None) == [Usage("anna", 1, 1, 3.25)]


@pytest.fixture(params=["memory", "redis"])
def days(request: pytest.FixtureRequest) -> Iterator[Days]:
    with closing(InMemory() if request.param == "memory" else OnRedis(request)) as made:
        yield made


def test_use_is_added_up_by_the_day(days: Days) -> None:
    keeper = days.keeper
    end(days.backend, "anna", done(2, "pixel"))
    days.pass_one()
    today = days.today
    end(days.backend, "anna", done(1), "other")
    end(days.backend, "ben", done(4))
    first = Usage("anna", 1, 2, 3.25)
    second = [Usage("anna", 1, 1, 3.25), Usage("ben", 1, 4, 3.25)]
    both = [Usage("anna", 2, 3, 6.5), Usage("ben", 1, 4, 3.25)]

    def used(since: int, until: int, owner: str | None = None) -> Sequence[Usage]:
        period = Period(today + timedelta(since), today + timedelta(until))
        return keeper.usage("key", owner, period)

    assert used(0, 0) == [first]
    assert used(1, 1) == second
    assert used(0, 1) == used(-30, 30) == keeper.usage("key", None) == both
    assert used(0, 1, "ben") == second[1:]
    assert used(-30, -1) == used(2, 30) == used(1, 0) == []
    of_models = keeper.usage("model", "anna", Period(today, today))
    assert of_models == [Usage("demo", 1, 2, 3.25)]
    assert keeper.usage("adapter", None, Period(today, today)) == [Usage("pixel", 1, 2, 3.25)]


def test_a_day_is_known_as_long_as_it_may_be_asked_for(valkey_url: str) -> None:
    backend = RedisBackend(valkey_url)
    end(backend, "anna", done(1))
    day = day_of(1000 * int(backend.client.time()[0]))
    number = (day - date(1970, 1, 1)).days
    left_s = backend.client.ttl(f"{backend.prefix}:usage:anna:{number}")
    assert (KEPT_DAYS - 1) * 86_400 < left_s <= KEPT_DAYS * 86_400
    assert backend.client.ttl(f"{backend.prefix}:usage:anna") == -1
    assert first_day_kept(day) == day - timedelta(KEPT_DAYS - 1)
    backend.close()


def test_a_store_that_is_down_is_reported() -> None:
    with pytest.raises(StoreUnavailable):
        RedisUsage(connect("redis://127.0.0.1:1")).usage("key", None)
