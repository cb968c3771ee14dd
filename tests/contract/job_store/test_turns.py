"""Whose turn it is in every job store, on memory and on a real Valkey."""

import pytest

from lorajobs.snapshot import WaitingGroup
from lorajobs.store import DRAINING, Trade, WorkerState
from tests.backends import RULES, Backend, Store
from tests.contract.job_store.queue import DIED, DONE, claimed, waiting
from tests.jobs import a_job, an_adapter, lease_of, use


def groups(store: Store, worker: str = "", loaded: str = "") -> list[WaitingGroup]:
    """All groups of all keys."""
    return [g for turn in store.snapshot("demo", worker, loaded).turns for g in turn.groups]


def test_oldest_waits_first_and_positions_count(store: Store) -> None:
    jobs = [a_job(loras=(use("pixel", 0.5),)), a_job(), a_job()]
    for job in jobs:
        store.submit(job, None)
    places = [store.place(job_id, 60_000_000) for job_id in waiting(store)]
    assert [place and (place.position, place.ahead_max) for place in places] == [
        *((0, 2), (1, 2), (2, 2))
    ]
    (turn,) = store.snapshot("demo").turns
    assert (turn.owner, turn.had) == ("", False)
    scores = [group.oldest.score_us for group in turn.groups]
    assert scores == sorted(scores)
    assert turn.since_us == scores[0]
    assert {g.oldest.group: g.waiting for g in turn.groups} == {
        f"{an_adapter('pixel').sha256}@0.5": 1,
        "": 2,
    }
    assert store.snapshot("demo").now_us >= scores[-1]


def test_groups_show_their_oldest_job_their_size_and_who_has_them_applied(store: Store) -> None:
    pixel, soft3d = use("pixel"), use("soft3d")
    jobs = [a_job(loras=loras) for loras in ((pixel,), (), (pixel,), (soft3d, pixel), (pixel,))]
    for job in jobs:
        store.submit(job, None)
    for name in ("w1", "w2"):
        store.put_worker(WorkerState(name, "demo", "warm", [], None), 60)
    one = jobs[0].spec.group

    def seen(worker: str = "w1") -> dict[str, tuple[int, bool]]:
        return {g.oldest.group: (g.waiting, g.elsewhere) for g in groups(store, worker, one)}

    both = jobs[3].spec.group
    assert both == a_job(loras=(pixel, soft3d)).spec.group
    assert seen() == {one: (3, False), "": (1, False), both: (1, False)}
    (turn,) = store.snapshot("demo", "w1", one).turns
    assert turn.loaded is not None
    assert turn.loaded.id in {jobs[i].id for i in (0, 2, 4)}
    assert store.snapshot("demo", "w1", "nothing").turns[0].loaded is None
    lease = lease_of(store.claim("demo", turn.loaded.id, "w2", "t"))
    assert lease is not None
    assert seen()[one] == (2, True)
    assert seen("w2")[one] == (2, False)
    store.put_worker(WorkerState("w2", "demo", DRAINING, [], None), 60)
    assert seen()[one] == (2, False)
    store.requeue(lease, DIED)
    assert seen()[one] == (3, False)
    for job in jobs:
        store.cancel(job.id)
    assert groups(store) == []


def test_what_a_worker_that_is_gone_took_last_counts_for_nobody(store: Store) -> None:
    store.put_worker(WorkerState("w2", "demo", "warm", [], None), 60)
    claimed(store, a_job(loras=(use("pixel"),)), "w2")
    store.submit(a_job(loras=(use("pixel"),)), None)
    assert [group.elsewhere for group in groups(store)] == [True]
    store.remove_worker("w2")
    assert [group.elsewhere for group in groups(store)] == [False]


def test_a_worker_that_took_a_job_of_another_base_left_the_adapters_of_the_first(
    backend: Backend,
) -> None:
    store = backend.store
    store.put_worker(WorkerState("w2", "demo", "warm", [], None), 60)
    store.finish(claimed(store, a_job(loras=(use("pixel"),)), "w2"), DONE)
    store.submit(a_job(loras=(use("pixel"),)), None)
    assert [group.elsewhere for group in groups(store)] == [True]
    other = a_job(model="sdxl")
    store.submit(other, None)
    trade = Trade(backend.ticket, "base.sdxl")
    assert store.claim("sdxl", other.id, "w2", "t9", trade)
    # In place of the ticket that was the first base's.
    assert backend.pushed() == 1
    assert store.claim("sdxl", None, "w2", "t9", trade)
    assert backend.pushed() == 1
    assert [group.elsewhere for group in groups(store)] == [False]


def test_keys_take_turns(store: Store) -> None:
    mine = [a_job(owner="anna") for _ in range(5)]
    for job in mine:
        store.submit(job, None)
    store.claim("demo", mine[0].id, "w1", "t0")
    his = a_job(owner="ben")
    store.submit(his, None)
    place = store.place(his.id, 0)
    assert place is not None
    assert place.position <= 1
    # Both have one turn before the next of either, and anna's first is over.
    assert place.ahead_max == 2
    last = store.place(mine[-1].id, 0)
    assert last is not None
    assert (last.position, last.ahead_max) == (4, 4)
    turns = {turn.owner: turn for turn in store.snapshot("demo").turns}
    assert {owner: turn.had for owner, turn in turns.items()} == {"anna": True, "ben": False}
    assert [group.waiting for turn in turns.values() for group in turn.groups] == [5, 5]
    store.claim("demo", his.id, "w1", "t1")
    assert [turn.owner for turn in store.snapshot("demo").turns] == ["anna"]
    # Who takes a second turn begins a new round.
    store.claim("demo", mine[1].id, "w1", "t2")
    assert [turn.had for turn in store.snapshot("demo").turns] == [True]
    store.submit(a_job(owner="ben"), None)
    turns = {turn.owner: turn for turn in store.snapshot("demo").turns}
    assert {owner: turn.had for owner, turn in turns.items()} == {"anna": True, "ben": False}


@pytest.mark.rules(RULES._replace(head_start_s=1000))
def test_a_head_start_brings_a_key_forward_once(ruled: Backend) -> None:
    store = ruled.store
    normal, high, again = (
        a_job(owner="anna"),
        *(a_job(owner="ben", priority="high") for _ in range(2)),
    )
    for job in (normal, high, again):
        store.submit(job, None)
    assert [turn.owner for turn in store.snapshot("demo").turns] == ["ben", "anna"]
    store.claim("demo", high.id, "w1", "t")
    assert [turn.owner for turn in store.snapshot("demo").turns] == ["anna", "ben"]


def test_priority_is_a_head_start(backend: Backend) -> None:
    store = backend.store
    low, normal, high = (a_job(priority=p, loras=(use(p),)) for p in ("low", "normal", "high"))
    for job in (low, normal, high):
        store.submit(job, None)
    assert waiting(store) == [high.id, normal.id, low.id]
    first, _, last = (group.oldest for group in groups(store))
    assert first.id == high.id
    assert last.score_us - first.score_us == pytest.approx(120_000_000, abs=2_000_000)
