"""Weights written in place: what they are, what they leave behind, and what goes wrong."""

import random
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from lorajobs.engine.arena import Arena, why_not_fusable
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.placement import Placement
from lorajobs.engine.racks import open_rack
from lorajobs.errors import BaseCorrupt, LoraNotApplied
from tests.engine.rack import Bed, adapter, modules, parts
from tests.engine.tiny import FAMILIES

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def resident_mb() -> float:
    """What this process holds in memory, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def look_often(bed: Bed) -> None:
    """The canary looks at a sample, so not at everything at once."""
    for _ in range(500):
        bed.rack.check()


def small_bed(dtype: torch.dtype) -> Bed:
    """Convolutions, attentions and texts, one of each: a thousand swaps take seconds."""
    torch.manual_seed(0)
    pipe = FAMILIES["sdxl"]()
    blocks = pipe.unet.down_blocks
    parts_of_it = {
        "unet": nn.ModuleList([blocks[0].resnets[0], blocks[1].attentions[0]]),
        "text_encoder": pipe.text_encoder.encoder.layers[0],
    }
    components = {name: part.to(dtype) for name, part in parts_of_it.items()}
    return Bed(components, budget=1 << 18)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_base_is_exact_after_a_thousand_swaps_and_failures(dtype: torch.dtype) -> None:
    bed = small_bed(dtype)
    before, pointers = bed.digest(), bed.pointers()
    chance, failures, held = random.Random(3), 0, 0.0
    bits: dict[tuple[tuple[int, float], ...], float] = {}
    for number in range(1000):
        chosen = sorted(chance.sample(range(6), chance.randint(0, 3)))
        named = tuple((seed, chance.choice((-1.5, 0.4, 1.0))) for seed in chosen)
        asked = [adapter(*one) for one in named]
        fault = chance.random()
        if fault < 0.05:
            asked.append(adapter(-1))
        elif fault < 0.15:
            bed.fuser.left = chance.randint(0, 8)
        try:
            bed.rack.activate(asked)
        except (LoraNotApplied, MemoryError):
            failures += 1
            assert bed.rack.applied == ()
            assert bed.is_bare()
        else:
            # The same set has the same bits, whatever was on before.
            total = sum(float(group.live.double().sum()) for group in bed.arena.groups)
            assert bits.setdefault(named, total) == total
        bed.fuser.left = None
        if number == 300:
            held = resident_mb()
    assert failures > 50
    assert resident_mb() - held < 16
    assert bed.pointers() == pointers
    bed.rack.activate([])
    assert bed.digest() == before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_weight_is_the_rounded_sum(dtype: torch.dtype) -> None:
    bed = Bed(modules(dtype))
    scales = {0: 0.7, 1: -0.4, 2: 1.3, 3: 0.9}
    bed.rack.activate([adapter(seed, scale) for seed, scale in scales.items()])
    made = {seed: parts(bed.components, seed) for seed in scales}
    touched = 0
    for group in bed.arena.groups:
        for index, path in enumerate(group.paths):
            base = group.pristine[index].view(group.shape)
            exact = base.double()
            for seed, scale in scales.items():
                layer = made[seed].get(group.component, {}).get(path)
                if layer is not None:
                    exact += layer.with_tensors(torch.Tensor.float).delta_from(base.float(), scale)
                    touched += 1
            got = group.live[index].view(group.shape)
            # Half a step of the last digit for the one rounding, a little for the sums.
            step = torch.finfo(dtype).eps * exact.abs().clamp(min=0.1)
            assert ((got.double() - exact).abs() <= 0.51 * step + 2e-6).all(), path
    assert touched > 15


def test_the_order_of_a_request_does_not_matter() -> None:
    bed = Bed(modules(torch.bfloat16))
    bed.rack.activate([adapter(0, 0.3), adapter(1, 0.9), adapter(2)])
    one = bed.digest()
    bed.rack.activate([])
    bed.rack.activate([adapter(2), adapter(0, 0.3), adapter(1, 0.9)])
    assert bed.digest() == one


def test_only_what_the_adapters_touch_is_written() -> None:
    bed = Bed(modules())
    touched = {
        (component, path)
        for seed in (0, 2)
        for component, layers in parts(bed.components, seed).items()
        for path in layers
    }
    spare = next(slot for place, slot in bed.arena.places.items() if place not in touched)
    mark = bed.arena.groups[spare.group].live[spare.at]
    mark.fill_(7)
    for asked in ([adapter(0)], [adapter(2)], []):
        bed.rack.activate(asked)
    assert (mark == 7).all()


def test_the_same_set_again_does_nothing() -> None:
    bed = Bed(modules())
    bed.rack.activate([adapter(0, 0.5)])
    weights = [group.live for group in bed.arena.groups]
    for weight in weights:
        weight.fill_(7)
    assert [lora.scale for lora in bed.rack.activate([adapter(0, 0.5)])] == [0.5]
    assert all((weight == 7).all() for weight in weights)
    bed.rack.activate([adapter(0, 0.6)])
    assert not all((weight == 7).all() for weight in weights)


def test_a_failure_while_restoring_from_a_failure_is_made_good_later() -> None:
    bed = Bed(modules())
    bed.rack.activate([adapter(0)])
    broken = bed.arena.groups[0]
    object.__setattr__(broken, "restore", None)
    bed.fuser.left = 0
    with pytest.raises(TypeError):
        bed.rack.activate([adapter(2)])
    object.__delattr__(broken, "restore")
    assert not bed.is_bare()
    bed.rack.activate([])
    assert bed.is_bare()


def test_what_host_memory_forgot_is_read_again_with_the_same_bits() -> None:
    bed = Bed(modules(), budget=1)
    bed.rack.activate([adapter(0)])
    one = bed.digest()
    bed.rack.activate([adapter(2)])
    assert len([n for n in (0, 2) if adapter(n).use.adapter.sha256 in bed.cache]) == 1
    bed.rack.activate([adapter(0)])
    assert (bed.digest(), bed.shelf.reads) == (one, 3)


def test_preloaded_adapters_are_not_read_again_and_change_nothing() -> None:
    bed = Bed(modules())
    bed.rack.preload([adapter(0), adapter(1)])
    assert bed.is_bare()
    bed.rack.activate([adapter(0), adapter(1)])
    assert bed.shelf.reads == 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_canary_is_quiet_on_sound_weights_and_finds_one_flipped_bit(
    dtype: torch.dtype,
) -> None:
    bed = Bed(modules(dtype))
    for asked in ([], [adapter(0)], [adapter(1, 0.5), adapter(2), adapter(3)]):
        bed.rack.activate(asked)
        for _ in range(30):
            bed.rack.check()
    for group in bed.arena.groups:
        bits = group.live.view(torch.int32 if dtype == torch.float32 else torch.int16)
        for index, path in enumerate(group.paths):
            bits[index, 0, 0] ^= 1
            with pytest.raises(BaseCorrupt, match=f"{group.component}.{path} "):
                look_often(bed)
            bits[index, 0, 0] ^= 1


def test_a_weight_that_two_modules_share_is_left_alone() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Linear(4, 4), shared)
    arena = Arena.of({"unet": model}, twin_on_host=True)
    assert [path for _, path in arena.places] == ["1"]
    tied = nn.Linear(4, 4)
    tied.weight = shared.weight
    arena = Arena.of({"unet": nn.Sequential(shared, tied, nn.Linear(4, 4))}, twin_on_host=True)
    assert [path for _, path in arena.places] == ["2"]


def test_what_cannot_be_written_in_place() -> None:
    assert why_not_fusable({"unet": nn.Linear(2, 2)}) is None
    odd = why_not_fusable({"unet": nn.Sequential(nn.Linear(2, 2).to(torch.float64))})
    assert odd == "unet.0 has weights of the kind torch.float64"


def test_a_pipeline_says_where_its_pristine_weights_lie() -> None:
    pipe = FAMILIES["sdxl"]()
    found = {
        asked: open_rack(pipe, torch.device("cpu"), asked, 0).placement
        for asked in ("unfused", "auto")
    }
    assert found == {"unfused": Placement.UNFUSED, "auto": Placement.HOST}
    assert isinstance(open_rack(pipe, torch.device("cpu"), "host", 0), InPlaceRack)
