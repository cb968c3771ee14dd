"""Bases that are parked and brought back: the same addresses, the same bits, or none of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from lorajobs.bases import Bases
from lorajobs.catalog import Catalog
from lorajobs.engine.base import Engine
from lorajobs.engine.berth import Berth, Cargo, why_not_movable
from lorajobs.engine.garage import Garage
from lorajobs.engine.graphs import Graphs
from lorajobs.engine.loading import models_of
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.engine.slab import Slab
from lorajobs.errors import BaseLoadFailed, EngineFailed
from lorajobs.settings import Settings
from lorajobs.worker import engines
from tests.engine.adapters import demo, pixels
from tests.unit.engine.test_graphs import CPU, Doubler, TapeRecorder, step

DEMO = Catalog.load(None).models["demo"]
ENTRIES = {
    "demo": DEMO,
    "twin": DEMO.model_copy(update={"id": "twin"}),
    "half": DEMO.model_copy(update={"id": "half", "dtype": "float16"}),
    "refused": DEMO.model_copy(update={"id": "refused", "attention": "cudnn"}),
    "beside": DEMO.model_copy(update={"id": "beside", "placement": "unfused"}),
}


class Lot:
    """A worker's bases on real engines, as a child has them."""

    def __init__(self, parked_mb: int = 1024) -> None:
        self.settings = Settings(device="cpu", parked_mb=parked_mb, host_cache_mb=64)
        self.garage = Garage(self.settings)
        self.loads: list[str] = []
        self.parked: Sequence[str] = ()
        self.bases = Bases(self._open, self._say, parked_mb << 20)

    def __getitem__(self, model: str) -> DiffusersEngine:
        engine = self.bases.engine(model)
        assert isinstance(engine, DiffusersEngine)
        return engine

    def _open(self, model: str) -> Engine:
        engine = DiffusersEngine(ENTRIES[model], self.settings, self.garage)
        engine.load()
        self.loads.append(model)
        return engine

    def _say(self, model: str, took_s: float, placement: str, parked: Sequence[str]) -> None:
        self.parked = parked


@pytest.fixture(scope="module")
def lot() -> Lot:
    """Two bases."""
    made = Lot()
    assert made["twin"].footprint() == made["demo"].footprint() > 0
    return made


def models(engine: DiffusersEngine) -> Mapping[str, nn.Module]:
    return models_of(engine._pipe)


def tensors(parts: Mapping[str, nn.Module]) -> Iterator[torch.Tensor]:
    for model in parts.values():
        yield from model.parameters()
        yield from model.buffers()


def addresses(engine: DiffusersEngine) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors(models(engine))]


def bits(parts: Mapping[str, nn.Module]) -> list[bytes]:
    # Of copies: a storage that NumPy looks into can be freed no more.
    copies = [t.detach().flatten().clone() for t in tensors(parts) if t.numel()]
    return [copy.view(torch.uint8).numpy().tobytes() for copy in copies]


def pictures(engine: DiffusersEngine) -> tuple[bytes, ...]:
    """Under adapters, then bare."""
    return pixels(engine, demo("soft3d", 0.5), demo("pixel", -0.25)), pixels(engine)


def test_pictures_weights_and_addresses_are_the_same_after_each_return(
    lot: Lot, engine: DiffusersEngine
) -> None:
    expected = pictures(engine)
    assert pictures(lot["demo"]) == expected
    where, bare = addresses(lot["demo"]), bits(models(lot["demo"]))
    for _ in range(2):
        # The other one lies in the same memory meanwhile, and was left with an adapter on.
        pixels(lot["twin"], demo("pixel"))
        assert addresses(lot["demo"]) == where
        assert lot["demo"].applied() == ()
        assert bits(models(lot["demo"])) == bare == bits(models(engine))
        lot["demo"].check()
        assert pictures(lot["demo"]) == expected
        pixels(lot["demo"], demo("soft3d"))
        lot["demo"].check()
    assert pixels(lot["twin"]) == expected[-1]
    assert sorted(lot.loads) == ["demo", "twin"]
    assert lot.parked == ["demo"]


def test_adapters_of_a_parked_base_stay_in_host_memory(lot: Lot) -> None:
    pixels(lot["demo"], demo("pixel"))
    there = set(lot["demo"].resident())
    pixels(lot["twin"])
    assert demo("pixel").use.adapter.sha256 in there
    assert set(lot["demo"].resident()) == there


def test_a_parked_base_does_nothing(lot: Lot) -> None:
    parked, _ = lot["demo"], lot["twin"]
    for call in (lambda: pixels(parked), parked.check, lambda: parked.stage([demo("pixel")])):
        with pytest.raises(EngineFailed, match="parked"):
            call()


def test_the_device_is_free_while_nothing_runs_and_steps_are_recorded_anew(lot: Lot) -> None:
    expected = pixels(lot["demo"])
    graphs = Graphs(Doubler(), TapeRecorder(), CPU, 1 << 30)
    lot.garage.watch(graphs)
    step(graphs)
    _ = lot["twin"], lot["demo"]
    assert graphs.count == 1
    assert lot.bases.unload() == "parked"
    assert (lot.garage._slab.size, graphs.count) == (0, 0)
    assert sorted(lot.parked) == ["demo", "twin"]
    assert pixels(lot["demo"]) == expected
    assert sorted(lot.loads) == ["demo", "twin"]


def test_a_larger_slab_keeps_the_parked_ones_but_not_their_recordings() -> None:
    lot = Lot()
    small = bits(models(lot["half"]))
    size = lot.garage._slab.size
    graphs = Graphs(Doubler(), TapeRecorder(), CPU, 1 << 30)
    lot.garage.watch(graphs)
    step(graphs)
    assert lot["demo"].footprint() == lot.garage._slab.size > size
    assert graphs.count == 0
    assert bits(models(lot["half"])) == small
    assert lot.loads == ["half", "demo"]


def test_a_return_that_fails_in_the_middle_leaves_no_half_base(
    lot: Lot, engine: DiffusersEngine
) -> None:
    broken, _ = lot["demo"], lot["twin"]
    assert broken._stay
    block = broken._stay._berth._block
    block.bytes = block.bytes[:-1]
    with pytest.raises(EngineFailed):
        broken.unpark()
    with pytest.raises(EngineFailed, match="parked"):
        pixels(broken)
    # A job gets it from the disk instead.
    assert lot["demo"] is not broken
    assert pixels(lot["demo"]) == pixels(engine)
    assert lot.loads.count("demo") == 2


def test_what_cannot_be_parked_is_closed_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture, engine: DiffusersEngine
) -> None:
    lot = Lot(parked_mb=40)
    assert lot["half"].footprint()
    assert lot["demo"].footprint() == 0
    assert "demo is not parked when another comes: it takes 54 MiB" in caplog.text
    # It has the device for itself.
    assert lot.garage._slab.size == 0
    assert pixels(lot["demo"]) == pixels(engine)
    assert lot["beside"].footprint() == 0
    assert "beside is not parked when another comes: adapters lie beside its weights" in caplog.text
    assert lot["beside"].placement() == "unfused"
    assert lot["half"].footprint()
    assert lot.loads == ["half", "demo", "beside"]
    lot.bases.unload()
    lot.bases._parked.pop("half").close()
    assert (lot.garage._cache.used, lot.garage._bases) == (0, set())


def test_a_load_that_fails_leaves_nothing_behind() -> None:
    lot = Lot()
    with pytest.raises(BaseLoadFailed, match="attention"):
        lot["refused"]
    assert (lot.garage._cache.used, lot.garage._slab.size, lot.garage._bases) == (0, 0, set())


@pytest.mark.parametrize(
    ("bases", "told", "parks"),
    [
        (1, {}, False),
        (2, {}, True),
        (1, {"unload_idle_s": 60}, True),
        (2, {"unload_idle_s": 60, "parked_mb": 0}, False),
    ],
)
def test_a_worker_parks_where_it_pays(bases: int, told: dict[str, Any], parks: bool) -> None:
    settings = Settings(device="cpu", **told)
    make = engines(settings, bases)
    one, other = (make(ENTRIES[model], settings) for model in ("demo", "twin"))
    assert isinstance(one, DiffusersEngine)
    assert isinstance(other, DiffusersEngine)
    assert (one._garage is not None) == parks
    assert one._garage is other._garage


class Odd(nn.Module):
    """Tensors that share memory, lie in other orders, or are of other precisions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.twin = nn.Linear(6, 4), nn.Linear(6, 4)
        self.conv = nn.Conv2d(3, 5, 3)
        self.conv.weight.data = self.conv.weight.data.to(memory_format=torch.channels_last)
        self.tied, self.other = nn.Linear(5, 5), nn.Linear(5, 5)
        self.other.weight = self.tied.weight
        both = torch.randn(7, 3)
        self.upper, self.turned = nn.Parameter(both[2:5]), nn.Parameter(both[1:].T)
        self.register_buffer("ids", torch.arange(9)[3:])
        self.register_buffer("none", torch.empty(0))
        self.register_buffer("rough", torch.randn(3).half(), persistent=False)


@pytest.mark.parametrize(("twin_near", "piece"), [(True, 700), (True, 1 << 20), (False, 1000)])
def test_any_tensor_moves_and_comes_back(twin_near: bool, piece: int) -> None:
    parts = {"odd": Odd(), "more": nn.Linear(4, 2)}
    assert why_not_movable(parts) is None
    expected, strides = bits(parts), [tensor.stride() for tensor in tensors(parts)]
    cargo, slab = Cargo(parts, ["odd"]), Slab(CPU)
    slab.take(cargo.reach(twin_near=twin_near))
    berth = Berth(cargo, slab, twin_near=twin_near, piece=piece)
    for _ in range(2):
        berth.fill()
        assert bits(parts) == expected
        for group in berth.arena.groups:
            assert torch.equal(group.live, group.pristine)
            assert group.live.data_ptr() != group.pristine.data_ptr()
        # Whatever another base writes there, and wherever the slab goes.
        slab.part(0, slab.size).fill_(255)
        assert bits(parts) != expected
        slab.take(slab.size + 4096)
    berth.fill()
    odd = parts["odd"]
    assert isinstance(odd, Odd)
    assert [tensor.stride() for tensor in tensors(parts) if tensor.dim() != 4] == [
        stride for stride in strides if len(stride) != 4
    ]
    odd.turned.data[0, 1] = 5
    assert float(odd.upper.detach()[0, 0]) == 5
    assert odd.other.weight.data_ptr() == odd.tied.weight.data_ptr()
    end = slab.part(0, 1).data_ptr() + slab.size
    assert all(
        slab.part(0, 1).data_ptr() <= t.data_ptr() < end for t in tensors(parts) if t.numel()
    )


def test_what_is_no_plain_memory_is_not_moved() -> None:
    sparse = nn.Module()
    sparse.register_buffer("map", torch.eye(3).to_sparse())
    assert "Tensor" in str(why_not_movable({"sparse": sparse}))
    assert "meta" in str(why_not_movable({"far": nn.Linear(2, 2, device="meta")}))
