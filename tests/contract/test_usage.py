"""What was used, in memory and on a real Valkey."""

from collections.abc import Iterator

import pytest

from lorajobs.errors import StoreUnavailable, WorkerLost
from lorajobs.jobs import AppliedLora, JobStatus, Metrics, Outcome
from lorajobs.redis_client import connect
from lorajobs.redis_usage import RedisUsage
from lorajobs.store import JobStore
from lorajobs.usage import Usage, UsageKeeper, gpu_s
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
    outputs = tuple(an_output(index=index) for index in range(pictures))
    return Outcome(
        status=JobStatus.SUCCEEDED, outputs=outputs, applied_loras=loras(*names), metrics=TOOK
    )


def test_the_gpu_is_used_to_load_to_swap_and_to_generate() -> None:
    assert gpu_s(done(1)) == 3.25
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


def test_a_store_that_is_down_is_reported() -> None:
    with pytest.raises(StoreUnavailable):
        RedisUsage(connect("redis://127.0.0.1:1")).usage("key", None)
