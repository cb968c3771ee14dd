"""Whatever is done to a file, its header and strict reading never come to different ends."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.blob import Packed
from lorajobs.errors import LoraRefused
from tests.engine.test_packer import Bed, State, contents, plain

Edit = Callable[[State, str], State]


def made(change: Callable[[Tensor], Tensor]) -> Edit:
    """Changes one tensor."""
    return lambda state, name: state | {name: change(state[name])}


def called(change: Callable[[str], str]) -> Edit:
    """Gives one tensor another name, which may be that of another."""
    return lambda state, name: {change(n) if n == name else n: v for n, v in state.items()}


def beside(name: str, value: Tensor) -> Edit:
    """Adds a tensor."""
    return lambda state, _: state | {name: value}


EDITS: Mapping[str, Edit] = {
    **{f"to {d}": made(lambda t, d=d: t.to(d)) for d in (torch.float32, torch.bfloat16)},  # type: ignore[misc]
    **{f"to {d}": made(lambda t, d=d: t.to(d)) for d in (torch.float64, torch.int32)},  # type: ignore[misc]
    "gone": lambda state, name: {n: v for n, v in state.items() if n != name},
    "narrower": made(lambda t: t[..., :-1] if t.ndim else t),
    "shorter": made(lambda t: t[:-1] if t.ndim else t),
    "of rank 0": made(lambda t: t[:0] if t.ndim else t),
    "turned": made(lambda t: t.T if t.ndim == 2 else t),
    "of four dimensions": made(lambda t: t[..., None, None]),
    "of one more": made(lambda t: t[None]),
    "zero": made(lambda t: t * 0),
    "negative": made(lambda t: -t),
    "infinite": made(lambda t: t / 0),
    "doubled": made(lambda t: torch.stack([t, t])),
    "a middle": called(lambda n: n.replace("lora_up", "lora_mid")),
    "a magnitude": called(lambda n: n.replace("lora_up.weight", "dora_scale")),
    "another module's": called(lambda n: n.replace("attn1_to_q", "attn2_to_k")),
    "nobody's": called(lambda n: n.replace("attn1", "attn9")),
    "dotted": called(lambda n: n.replace("transformer_blocks_0_", "transformer_blocks_0.")),
    "a counter": beside("step", torch.tensor(5)),
    "a broken counter": beside("global_step", torch.tensor(float("nan"))),
    "positions": beside("x.position_ids", torch.arange(77)),
    "something": beside("x.y", torch.ones(2)),
}
CONFIGS: tuple[Mapping[str, object] | None, ...] = (
    None,
    None,
    {"r": 4, "lora_alpha": 8},
    {"r": 8, "lora_alpha": 8},
    {"use_dora": True},
    {"alpha_pattern": {"attn1.to_q": 3}, "lora_alpha": 2},
    {"rank_pattern": {"a|b": 3}},
)


def end(read: Callable[[LocalAdapter], Packed], adapter: LocalAdapter) -> object:
    """What came of it: all of the adapter, or the code of the refusal."""
    try:
        return contents(read(adapter))
    except LoraRefused as error:
        return error.code, error.detail


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.sampled_from(sorted(EDITS)), st.integers(0, 5)), max_size=3),
    rank=st.sampled_from([4, 16]),
    with_alpha=st.booleans(),
    peft=st.sampled_from(CONFIGS),
)
def test_both_ways_end_alike(
    edits: list[tuple[str, int]],
    rank: int,
    with_alpha: bool,
    peft: Mapping[str, object] | None,
    tmp_path: Path,
) -> None:
    state = {n: v for n, v in plain(rank).items() if with_alpha or not n.endswith("alpha")}
    for edit, number in edits:
        if state:
            state = EDITS[edit](state, sorted(state)[number % len(state)])
    bed = Bed("sdxl", tmp_path)
    adapter = bed.file(state or plain(rank), None, peft)
    assert end(bed.packer.packed, adapter) == end(bed.strictly, adapter)
    # Once more, by what is remembered of the header.
    assert end(bed.packer.packed, adapter) == end(bed.strictly, adapter)
