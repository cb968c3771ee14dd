"""The tier of each adapter of a job, from what the workers tell."""

from collections.abc import Sequence

from lorajobs.holdings import Holder, Holding
from lorajobs.jobs import AppliedLora
from lorajobs.spec import Adapter, Embeddings
from lorajobs.store import DRAINING, WorkerState
from lorajobs.testing import MemoryJobStore
from lorajobs.whereabouts import Tier, Whereabouts
from tests.jobs import an_adapter

NAMES = ("applied", "memory", "disk", "remote")
ALL = [an_adapter(name) for name in NAMES]
NOBODY = [None] * 4


def worker(store: MemoryJobStore, name: str = "w1", model: str = "demo", **fields: object) -> None:
    """One that has each adapter where its name says."""
    told: dict[str, object] = {"state": "warm", "loaded": [applied(ALL[0])], "disk": "host:1"}
    state = WorkerState(**{"name": name, "model": model, "job_id": None, **told, **fields})  # type: ignore[arg-type]
    store.put_worker(state, 60)
    memory, disk = Holding.of([ALL[1].content]), Holding.of([a.sha256 for a in ALL[:3]])
    store.put_held({Holder("memory", name): memory, Holder("disk", state.disk): disk}, 60)


def applied(adapter: Adapter) -> AppliedLora:
    tokens = adapter.embeddings.sha256 if adapter.embeddings else None
    return AppliedLora(
        id="x", revision="r", sha256=adapter.sha256, scale=1, embeddings_sha256=tokens
    )


def tiers(store: MemoryJobStore, adapters: Sequence[Adapter] = ALL) -> list[Tier | None]:
    where = Whereabouts(store.workers(), store, "demo", adapters)
    return [where.tier(adapter) for adapter in adapters]


def test_the_nearest_place_of_each_is_told() -> None:
    store = MemoryJobStore()
    assert tiers(store) == NOBODY
    worker(store)
    assert tiers(store) == list(NAMES)
    assert tiers(store, []) == []


def test_a_worker_that_takes_no_such_jobs_does_not_count() -> None:
    store = MemoryJobStore()
    worker(store, state=DRAINING)
    assert tiers(store) == NOBODY
    worker(store, model="other")
    assert tiers(store) == NOBODY


def test_a_worker_of_another_base_that_would_load_this_one_has_but_its_disk() -> None:
    store = MemoryJobStore()
    worker(store, model="other", others=("demo",))
    assert tiers(store) == ["disk", "disk", "disk", "remote"]


def test_a_disk_counts_only_while_a_worker_of_the_base_uses_it() -> None:
    store = MemoryJobStore()
    worker(store, model="other", name="w2", disk="host:2")
    worker(store, loaded=(), disk="")
    assert tiers(store) == ["remote", "memory", "remote", "remote"]


def test_the_same_weights_under_another_configuration_are_not_in_memory() -> None:
    store = MemoryJobStore()
    worker(store)
    weights = ALL[1]
    configured = weights.model_copy(update={"peft_config": {"r": 4}})
    assert tiers(store, [weights, configured]) == ["memory", "disk"]
    store.put_held({Holder("memory", "w1"): Holding.of([configured.content])}, 60)
    assert tiers(store, [weights, configured]) == ["disk", "memory"]
    store.put_held({Holder("disk", "host:1"): Holding.of(())}, 60)
    assert tiers(store, [weights, configured]) == ["remote", "memory"]


def test_trained_tokens_are_part_of_an_adapter() -> None:
    store = MemoryJobStore()
    worker(store)
    tokens = an_adapter("tokens")
    fields = tokens.model_dump(include=set(Embeddings.model_fields)) | {"tokens": ("<s0>",)}
    bare = ALL[2]
    with_tokens = bare.model_copy(update={"embeddings": Embeddings(**fields)})
    assert tiers(store, [bare, with_tokens]) == ["disk", "remote"]
    store.put_held({Holder("disk", "host:1"): Holding.of([bare.sha256, tokens.sha256])}, 60)
    assert tiers(store, [with_tokens]) == ["disk"]
    worker(store, loaded=[applied(with_tokens)])
    assert tiers(store, [bare, with_tokens]) == ["disk", "applied"]
