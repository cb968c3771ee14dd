"""Files that cannot do what they claim are refused, and the base is exact after each."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.errors import LoraRefused
from lorajobs.lora_errors import LoraUnknownKeys
from tests.engine.adapters import (
    TEXT_MODULE,
    TEXT_SHAPE,
    UNET_MODULE,
    UNET_SHAPE,
    demo,
    factors,
    kohya,
    local,
    pair,
    pixels,
    prefixed,
    saved,
)
from tests.lora_files import DEMO_LORAS

State = dict[str, Tensor]
Refused = Callable[[LocalAdapter, str, str], None]
GOOD = prefixed("unet.", pair(UNET_MODULE, UNET_SHAPE))
DOWN, UP = f"unet.{UNET_MODULE}.lora_A.weight", f"unet.{UNET_MODULE}.lora_B.weight"


def changed(key: str, change: Callable[[Tensor], Tensor]) -> State:
    """The good adapter with one tensor replaced."""
    return GOOD | {key: change(GOOD[key])}


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    """Puts one bad value into a tensor."""

    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[3] = value
        return tensor

    return change


KOHYA_PAIR = [f"{UNET_MODULE.replace('.', '_')}.lora_{side}.weight" for side in ("down", "up")]
HADAMARD = {f"lora_unet_mid_block_x.hada_w1_{side}": torch.ones(4, 4) for side in "ab"}
#: A file, the code it is refused with, and a part of the detail.
STATES: dict[str, tuple[State, str, str]] = {
    "nan": (changed(UP, with_value(float("nan"))), "lora_not_finite", "attn1.to_q.lora_B"),
    "infinite": (changed(DOWN, with_value(float("inf"))), "lora_not_finite", "lora_A"),
    "too large for any base": (
        changed(DOWN, lambda t: t.double() * 1e300),
        "lora_not_finite",
        "lora_A",
    ),
    "zero": ({k: t * 0 for k, t in GOOD.items()}, "lora_no_effect", "zero"),
    "other width": (
        changed(DOWN, lambda t: t[:, :96]),
        "lora_shape_mismatch",
        r"\(160, 96\).*\(160, 160\)",
    ),
    "other height": (changed(UP, lambda t: t[:96]), "lora_shape_mismatch", r"\(96, 160\)"),
    "ranks differ": (changed(UP, lambda t: t[:, :2]), "lora_shape_mismatch", "do not fit"),
    "rank 0": (
        {DOWN: GOOD[DOWN][:0], UP: GOOD[UP][:, :0]},
        "lora_shape_mismatch",
        "do not fit",
    ),
    "huge rank": (
        {DOWN: torch.zeros(4097, 160), UP: torch.zeros(160, 4097)},
        "lora_too_large",
        "rank 4097",
    ),
    "convolution for a linear": (
        changed(DOWN, lambda t: t[..., None, None]),
        "lora_shape_mismatch",
        "do not fit",
    ),
    "one factor": ({DOWN: GOOD[DOWN]}, "lora_shape_mismatch", "only one part"),
    "integers": (changed(DOWN, lambda t: t.to(torch.int32)), "lora_unsupported_format", "integers"),
    "two names for one weight": (
        GOOD | prefixed("lora_unet_", dict(zip(KOHYA_PAIR, GOOD.values(), strict=True))),
        "lora_unknown_keys",
        "twice.*beside",
    ),
    "nothing of a lora": ({"unet.conv_in.weight": torch.ones(3)}, "lora_no_effect", "conv_in"),
    "one key too many": (
        GOOD | {"unet.nowhere.lora_A.weight": GOOD[DOWN], "unet.nowhere.lora_B.weight": GOOD[UP]},
        "lora_unknown_keys",
        "1 of its 2.*nowhere",
    ),
    "a strange name": (GOOD | {"unet.extra": torch.ones(1)}, "lora_unknown_keys", "unet.extra"),
    "bias": (
        GOOD | {UP.replace("weight", "bias"): torch.ones(160)},
        "lora_unsupported_format",
        "bias.*lora_B.bias",
    ),
    "oft": ({"lora_unet_x.oft_blocks": torch.ones(2, 2)}, "lora_unsupported_format", "OFT"),
    "trained tokens": (
        GOOD | {"clip_l": torch.ones(2, 192)},
        "lora_unsupported_format",
        "tokens.*clip_l",
    ),
    "a difference of biases": (
        {"unet.conv_in.diff_b": torch.ones(3)},
        "lora_unsupported_format",
        "biases",
    ),
    "magnitude of another size": (
        GOOD | {f"unet.{UNET_MODULE}.lora_magnitude_vector": torch.ones(96)},
        "lora_shape_mismatch",
        r"magnitude.*\(96,\)",
    ),
    "magnitude of another module": (
        GOOD | {"lora_unet_mid_block_x.dora_scale": torch.ones(1)},
        "lora_shape_mismatch",
        "mid_block_x has dora_scale",
    ),
    "sdxl's second text encoder": (
        GOOD | prefixed("text_encoder_2.", pair(TEXT_MODULE, TEXT_SHAPE)),
        "lora_unknown_keys",
        "1 of its 2 .*text_encoder_2",
    ),
    "half a loha": (HADAMARD, "lora_shape_mismatch", "hada_w1_a, hada_w1_b"),
    "kohya without an up": (
        {k: v for k, v in kohya("pixel", 16).items() if "lora_up" not in k},
        "lora_shape_mismatch",
        "alpha, down",
    ),
    "kohya with an unending alpha": (
        kohya("pixel", float("inf")),
        "lora_not_finite",
        "alpha",
    ),
    "an alpha of two": (
        kohya("pixel", 4) | {"lora_unet_conv_in.alpha": torch.ones(2)},
        "lora_shape_mismatch",
        "conv_in",
    ),
    "inside an adapted module": (
        prefixed("unet.", pair(f"{UNET_MODULE}.base_layer", UNET_SHAPE)),
        "lora_unknown_keys",
        "base_layer",
    ),
}

CONFIGS: dict[str, tuple[dict[str, object], str, str]] = {
    "other method": ({"peft_type": "OFT"}, "lora_unsupported_format", "peft_type"),
    "dora": ({"peft_type": "LORA", "use_dora": True}, "lora_unsupported_format", "magnitude"),
    "changes the base": (
        {"init_lora_weights": "pissa_niter_4"},
        "lora_unsupported_format",
        "pissa_niter_4",
    ),
    "other rank": ({"r": 8, "lora_alpha": 8}, "lora_shape_mismatch", "rank 8"),
    "expression": ({"r": 4, "alpha_pattern": {"(.*)*x": 2}}, "lora_unsupported_format", "a name"),
    "no number": ({"r": 4, "lora_alpha": "many"}, "lora_unsupported_format", "lora_alpha"),
}


@pytest.fixture(scope="module")
def bare(engine: DiffusersEngine) -> bytes:
    """What the base alone draws."""
    return pixels(engine)


@pytest.fixture
def refused(engine: DiffusersEngine, bare: bytes) -> Refused:
    """Asserts that an adapter is refused, alone and beside a good one, and leaves no trace."""

    def check(adapter: LocalAdapter, code: str, reason: str) -> None:
        for asked in ([adapter], [demo("pixel"), adapter]):
            engine.apply([demo("lineart")])
            with pytest.raises(LoraRefused, match=reason) as caught:
                engine.apply(asked)
            assert caught.value.code == code
            assert adapter.use.adapter.id in caught.value.detail
            assert engine.applied() == ()
        assert pixels(engine) == bare

    return check


@pytest.mark.parametrize("name", STATES)
def test_weights(name: str, refused: Refused, tmp_path: Path) -> None:
    state, code, reason = STATES[name]
    refused(local(saved(tmp_path / "bad.safetensors", state)), code, reason)


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration(name: str, refused: Refused, tmp_path: Path) -> None:
    config, code, reason = CONFIGS[name]
    refused(local(saved(tmp_path / "bad.safetensors", GOOD), peft=config), code, reason)


PIXEL = (DEMO_LORAS / "pixel.safetensors").read_bytes()


def with_header(header: object, length: int | None = None) -> bytes:
    """A file with this header and four bytes of weights."""
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(4)


def bytes_at(begin: int, end: int) -> dict[str, object]:
    """One tensor of a header."""
    return {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}


FILES: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "lora_invalid_file", "is empty"),
    "garbage": (b"not weights at all", "lora_invalid_file", "not a safetensors file"),
    "truncated": (PIXEL[:-1000], "lora_invalid_file", "truncated"),
    "cut inside the header": (PIXEL[:100], "lora_invalid_file", "truncated"),
    "longer than it says": (PIXEL + bytes(9), "lora_invalid_file", "9 bytes follow"),
    "pickle": (pickle.dumps({DOWN: [1.0]}), "lora_pickle", "pickle"),
    "zipped pickle": (b"PK\x03\x04" + bytes(64), "lora_pickle", "pickle"),
    "web page": (b"<!DOCTYPE html><html>" + bytes(64), "lora_invalid_file", "web page"),
    "header bomb": (with_header({}, 2**62), "lora_invalid_file", "truncated"),
    "a header too large to read": (
        (17 * 2**20).to_bytes(8, "little") + b"{" + b" " * (17 * 2**20),
        "lora_invalid_file",
        "larger than",
    ),
    "a length that ends early": (
        with_header({"a": bytes_at(0, 4)}, 9),
        "lora_invalid_file",
        "valid",
    ),
    "deep nesting": (
        (200_001).to_bytes(8, "little") + b"{" + b"[" * 200_000,
        "lora_invalid_file",
        "valid",
    ),
    "overlapping": (
        with_header({"a": bytes_at(0, 3), "b": bytes_at(2, 4)}),
        "lora_invalid_file",
        "overlap",
    ),
    "a gap": (with_header({"a": bytes_at(0, 1), "b": bytes_at(2, 4)}), "lora_invalid_file", "gaps"),
    "beyond the end": (with_header({"a": bytes_at(0, 40)}), "lora_invalid_file", "truncated"),
    "no tensors": (with_header({}), "lora_invalid_file", "no tensors"),
    "a thousand times a thousand": (
        with_header({"a": bytes_at(0, 4) | {"shape": [2**40, 2**40]}}),
        "lora_invalid_file",
        "shape",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, refused: Refused, tmp_path: Path) -> None:
    data, code, reason = FILES[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    refused(local(path), code, reason)


def test_at_most_five_keys_are_named(engine: DiffusersEngine, tmp_path: Path) -> None:
    state = {
        f"unet.nowhere.{n}.lora_{side}.weight": GOOD[key]
        for n in range(9)
        for side, key in (("A", DOWN), ("B", UP))
    }
    with pytest.raises(LoraUnknownKeys) as caught:
        engine.apply([local(saved(tmp_path / "bad.safetensors", state))])
    assert caught.value.detail.count("nowhere") == 5


def test_part_of_an_adapter_is_a_whole_one(engine: DiffusersEngine, tmp_path: Path) -> None:
    # What matters is that all of the file is used, not that all of the base is changed.
    part = {k: v for k, v in factors("pixel").items() if k.startswith("down_blocks.0.")}
    some = pixels(engine, local(saved(tmp_path / "part.safetensors", prefixed("unet.", part))))
    assert some not in (pixels(engine), pixels(engine, demo("pixel")))
