"""Adapters in host memory, within a budget."""

import random
from concurrent.futures import ThreadPoolExecutor

import torch

from lorajobs.engine.blob import Packed
from lorajobs.engine.host_cache import HostCache, Shelf
from lorajobs.engine.layer import LowRank
from lorajobs.engine.packer import Packer
from lorajobs.engine.pool import Pool, Room
from lorajobs.engine.summary import Summary
from tests.engine.rack import Bed, adapter, modules, parts


def packed(size: int) -> Packed:
    """An adapter of so many bytes."""
    return Packed(Room(torch.empty(size, dtype=torch.uint8)), (), {}, Summary(0, 0, 0, False))


def test_what_does_not_fit_goes_unless_it_is_held() -> None:
    cache = HostCache(budget=250)
    cache.get("old", lambda: packed(100))
    cache.hold(["old"])
    cache.get("middle", lambda: packed(100))
    cache.get("new", lambda: packed(100))
    assert ("old" in cache, "middle" in cache, "new" in cache) == (True, False, True)
    assert cache.used == 200


def test_bases_share_a_cache_but_no_adapter() -> None:
    cache = HostCache(budget=250)
    one, other = Shelf(cache, "one"), Shelf(cache, "other")
    mine, theirs = packed(100), packed(100)
    assert one.get("same", lambda: mine) is mine
    assert other.get("same", lambda: theirs) is theirs
    assert (one.names(), other.names()) == (["same"], ["same"])
    one.hold(["same"])
    # Within one budget: what the other base has goes for it.
    one.get("more", lambda: packed(100))
    assert (sorted(one.names()), list(other.names())) == (["more", "same"], [])
    other.get("again", lambda: packed(50))
    one.clear()
    assert (list(one.names()), list(other.names())) == (["same"], ["again"])
    one.hold(())
    one.clear()
    assert cache.used == 50


def test_what_is_no_longer_held_goes_once_the_budget_is_exceeded() -> None:
    cache = HostCache(budget=150)
    cache.hold(["one", "two"])
    for name in ("one", "two"):
        cache.get(name, lambda: packed(100))
    assert cache.used == 200
    cache.hold(["two"])
    assert ("one" in cache, "two" in cache) == (False, True)


def test_nothing_is_made_twice_while_it_is_here() -> None:
    cache = HostCache(budget=1000)
    made = []
    for _ in range(3):
        cache.get("one", lambda: made.append(1) or packed(10))  # type: ignore[func-returns-value]
    assert made == [1]
    cache.clear()
    cache.get("one", lambda: made.append(1) or packed(10))  # type: ignore[func-returns-value]
    assert made == [1, 1]


def test_a_packed_layer_is_the_layer_that_was_read() -> None:
    bed = Bed(modules())
    for seed in (0, 2, 4):
        found = parts(bed.components, seed)
        block = Packer(bed.shelf, bed.arena, Pool(0, pinned=False)).packed(adapter(seed))
        for component, layers in found.items():
            for path, layer in layers.items():
                slot = bed.arena.places[component, path]
                held = block.layer(slot, bed.arena.groups[slot.group].shape)
                assert isinstance(layer, LowRank)
                assert isinstance(held, LowRank)
                # Filled up with zeros, which add nothing.
                assert torch.allclose(held.delta(), layer.delta(), rtol=0, atol=1e-6)


def test_what_another_thread_made_meanwhile_is_used() -> None:
    cache = HostCache(budget=1000)
    first = packed(10)

    def slow() -> Packed:
        # What the other thread does while this one reads its file.
        cache.get("one", lambda: first)
        return packed(10)

    assert cache.get("one", slow) is first
    assert cache.used == 10


def test_threads_may_share_it() -> None:
    cache = HostCache(budget=350)
    names = [str(number) for number in range(8)]

    def use(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(300):
            name = chance.choice(names)
            if chance.random() < 0.2:
                cache.hold([name])
            assert cache.get(name, lambda: packed(100)).nbytes == 100

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(use, seed) for seed in range(4)]:
            done.result()
    cache.hold(())
    assert cache.used == 100 * len(cache.names()) <= 350
