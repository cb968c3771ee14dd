"""A file with a header that was seen before: quick, and as strict and exact as the first."""

import gc
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorajobs.engine.arena import Arena
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.blob import Packed, bits, pack
from lorajobs.engine.layer import Parts
from lorajobs.engine.packer import Packer
from lorajobs.engine.pool import Pool
from lorajobs.engine.products import Products
from lorajobs.errors import LoraRefused
from lorajobs.lora_errors import LoraNotFinite
from tests.engine.adapters import local, saved
from tests.engine.full_size import pipeline, reader
from tests.engine.test_corpus import FILES, NARROW

State = dict[str, Tensor]
#: What is no factor of a product: it decides how strongly they count, or nothing.
OTHERS = ("alpha", "position_ids", "v_pred", "ztsnr", "global_step", "step", "epoch", "iteration")
#: Formats whose tensors are computed before they are used, by a part of their names.
COMPUTED = ("dora", "loha", "lokr", "full", "lycoris", "tucker", "float64", "float8")
DOWN, UP = ("lora_A.weight", "lora_down.weight"), ("lora_B.weight", "lora_up.weight")


@cache
def arena(family: str) -> Arena:
    """That of a narrow base without weights."""
    pipe = pipeline(family, NARROW)
    components = {name: getattr(pipe, name) for name in reader(family, NARROW).targets}
    return Arena.of(components, twin_on_host=False)


class Bed:
    """A packer, how often it asked what a header tells, and how often it had to read strictly."""

    def __init__(self, family: str, folder: Path) -> None:
        self.pool = Pool(1 << 24, pinned=False)
        self.packer = Packer(self, arena(family), self.pool)
        self.asked = self.reads = 0
        self._family = family
        self._folder = folder

    def read(self, adapter: LocalAdapter) -> Parts:
        """As the reader does."""
        self.reads += 1
        return reader(self._family, NARROW).read(adapter)

    def products(self, adapter: LocalAdapter) -> Products | None:
        """As the reader does."""
        self.asked += 1
        return reader(self._family, NARROW).products(adapter)

    def file(
        self,
        state: Mapping[str, Tensor],
        metadata: Mapping[str, str] | None = None,
        peft: Mapping[str, object] | None = None,
    ) -> LocalAdapter:
        """An adapter of these tensors; the one before is gone."""
        path = self._folder / "it.safetensors"
        path.unlink(missing_ok=True)
        saved(path, state, dict(metadata or {}) or None)
        return local(path, peft=dict(peft) if peft else None)

    def strictly(self, adapter: LocalAdapter) -> Packed:
        """What must come out."""
        with ThreadPoolExecutor(1) as threads:
            return pack(self.read(adapter), arena(self._family), Pool(0, pinned=False), threads)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    """A packer for SDXL."""
    return Bed("sdxl", tmp_path)


def contents(packed: Packed) -> list[object]:
    """All of it, to the bit."""
    found: list[object] = [packed.summary]
    for bucket in packed.buckets:
        found += [bucket.group, bucket.slots.tolist(), bucket.strengths.tolist()]
        found += [(x.shape, x.dtype, bits(x).tobytes()) for x in (bucket.down, bucket.up)]
    for slot, layer in sorted(packed.loose.items()):
        found += [slot, [x.float().numpy().tobytes() for x in layer.tensors()]]
    return found


def other_values(state: Mapping[str, Tensor]) -> State:
    """Another adapter with the same header."""
    return {
        name: value
        if name.rpartition(".")[2] in OTHERS
        else (value.float().flatten().roll(1).view(value.shape) * -0.5).to(value.dtype)
        for name, value in state.items()
    }


def changed(state: Mapping[str, Tensor], end: str | tuple[str, ...], value: float) -> State:
    """One value of the last tensor whose name ends so is another."""
    name = max(name for name in state if name.endswith(end))
    new = state[name].clone()
    new.view(-1)[-1] = value
    return {**state, name: new}


def plain(rank: int = 4) -> State:
    """Kohya's file for two weights of SDXL, alphas included."""
    torch.manual_seed(rank)
    found = {}
    for name, out, width in (("attn1_to_q", 64, 64), ("attn2_to_k", 64, 2048)):
        module = f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_{name}"
        found[f"{module}.lora_down.weight"] = torch.randn(rank, width).half()
        found[f"{module}.lora_up.weight"] = torch.randn(out, rank).half()
        found[f"{module}.alpha"] = torch.tensor(2.0).half()
    return found


@pytest.mark.parametrize("name", FILES)
def test_both_files_of_one_header_are_what_strict_reading_gives(name: str, tmp_path: Path) -> None:
    recipe = FILES[name]
    file, bed = recipe.make(), Bed(recipe.family, tmp_path)
    for state in (file.tensors, other_values(file.tensors)):
        adapter = bed.file(state, file.metadata, file.peft)
        got = contents(bed.packer.packed(adapter))
        if name.startswith(("sdxl", "sd15")) and not any(part in name for part in COMPUTED):
            assert (bed.asked, bed.reads) == (1, 0)
        strict = Bed(recipe.family, tmp_path)
        assert got == contents(strict.strictly(adapter))


@pytest.mark.parametrize("rank", [1, 4, 16, 20])
def test_ranks_are_filled_up_with_zeros_whatever_was_in_memory(rank: int, bed: Bed) -> None:
    bed.packer.packed(bed.file(plain(rank)))
    bed.pool.take(bed.pool.free).bytes.fill_(255)
    adapter = bed.file(other_values(plain(rank)))
    assert contents(bed.packer.packed(adapter)) == contents(bed.strictly(adapter))
    assert bed.asked == 1


BROKEN: Mapping[str, tuple[Callable[[State], State], str]] = {
    "nan": (lambda state: changed(state, UP, float("nan")), "lora_not_finite"),
    "infinite": (lambda state: changed(state, DOWN, float("-inf")), "lora_not_finite"),
    "alpha": (lambda state: changed(state, "alpha", float("nan")), "lora_not_finite"),
    "zero": (
        lambda state: {k: v * -0.0 if k.endswith(UP) else v for k, v in state.items()},
        "lora_no_effect",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_values_are_looked_at_each_time(fault: str, bed: Bed) -> None:
    bed.packer.packed(bed.file(plain()))
    free = bed.pool.free
    change, code = BROKEN[fault]
    with pytest.raises(LoraRefused) as refused:
        bed.packer.packed(bed.file(change(plain())))
    assert refused.value.code == code
    del refused
    gc.collect()
    # The first adapter went at once, the second left nothing.
    assert bed.pool.free == free == 1 << 24


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("end", [DOWN, UP])
def test_the_largest_values_pass_and_nothing_beyond(
    dtype: torch.dtype, end: tuple[str, ...], bed: Bed
) -> None:
    state = {name: value.to(dtype) for name, value in plain().items()}
    bed.packer.packed(bed.file(state))
    largest = torch.finfo(dtype).max
    for value in (largest, -largest, -0.0):
        bed.packer.packed(bed.file(changed(state, end, value)))
    assert (bed.asked, bed.reads) == (1, 0)
    for value in (float("inf"), -float("inf"), float("nan"), -float("nan")):
        with pytest.raises(LoraNotFinite):
            bed.packer.packed(bed.file(changed(state, end, value)))


def test_another_alpha_counts(bed: Bed) -> None:
    first = bed.packer.packed(bed.file(plain()))
    second = bed.packer.packed(bed.file(changed(plain(), "alpha", 8.0)))
    assert (first.summary.strength, second.summary.strength, bed.asked) == (0.5, 2.0, 2)


def test_metadata_that_tell_a_story_do_not_matter(bed: Bed) -> None:
    bed.packer.packed(bed.file(plain(), {"ss_session_id": "1", "ü": "{}"}))
    bed.packer.packed(bed.file(plain(), {"ss_session_id": "2", "ss_tag": '"]},'}))
    assert bed.asked == 1


def test_metadata_that_say_how_strong_it_is_do(bed: Bed) -> None:
    state = {name: value for name, value in plain().items() if not name.endswith("alpha")}
    found = []
    for alpha in (4, 8):
        told = {"lora_adapter_metadata": json.dumps({"r": 4, "lora_alpha": alpha})}
        found.append(bed.packer.packed(bed.file(state, told)).summary.strength)
    for alpha in (12, 16):
        peft = {"r": 4, "lora_alpha": alpha}
        found.append(bed.packer.packed(bed.file(state, peft=peft)).summary.strength)
    assert (found, bed.asked, bed.reads) == ([1.0, 2.0, 3.0, 4.0], 4, 0)


DAMAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "cut": lambda raw: raw[:-1],
    "cut to its header": lambda raw: raw[: 8 + int.from_bytes(raw[:8], "little")],
    "longer": lambda raw: raw + b"\0",
    "metadata twice": lambda raw: with_header(raw, b'{"__metadata__":{"a":"1","a":"2"},'),
    "metadata of numbers": lambda raw: with_header(raw, b'{"__metadata__":{"a":1},'),
    "metadata that are none": lambda raw: with_header(raw, b'{"__metadata__":["a"],'),
    "two metadata": lambda raw: with_header(raw, b'{"__metadata__":{},"__metadata__":{"a":"1"},'),
}


def with_header(raw: bytes, start: bytes) -> bytes:
    """The same file with other metadata."""
    end = 8 + int.from_bytes(raw[:8], "little")
    header = start + raw[8:end].removeprefix(b'{"__metadata__":{"a":"1"},')
    return len(header).to_bytes(8, "little") + header + raw[end:]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_with_a_known_header_is_refused(damage: str, bed: Bed) -> None:
    good = bed.file(plain(), {"a": "1"})
    bed.packer.packed(good)
    # The damage is what is refused, not how it is put together.
    good.path.write_bytes(with_header(good.path.read_bytes(), b'{"__metadata__":{"a":"1"},'))
    bed.packer.packed(good)
    good.path.write_bytes(DAMAGE[damage](good.path.read_bytes()))
    with pytest.raises(LoraRefused) as refused:
        bed.packer.packed(good)
    assert refused.value.code == "lora_invalid_file"


def test_a_header_of_odd_length_is_read(bed: Bed) -> None:
    good = bed.file(plain(), {"a": "1"})
    expected = contents(bed.packer.packed(good))
    for padding in (b"", b" "):
        raw = with_header(good.path.read_bytes(), b'{"__metadata__":{"a":"1"},' + padding)
        good.path.write_bytes(raw)
        assert contents(bed.strictly(good)) == expected
        assert contents(bed.packer.packed(good)) == expected


def test_a_pool_gives_what_is_free_and_takes_it_back() -> None:
    pool = Pool(1000, pinned=False)
    one, two = pool.take(400), pool.take(600)
    one.bytes.fill_(1)
    two.bytes.fill_(2)
    beyond = pool.take(100)
    assert (pool.free, beyond.bytes.nbytes, int(one.bytes.max())) == (0, 100, 1)
    del one
    assert pool.free == 400
    del two, beyond
    assert (pool.free, pool.take(1000).bytes.nbytes, pool.free) == (1000, 1000, 1000)
