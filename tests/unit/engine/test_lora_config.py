"""What an adapter's configuration says of its strength."""

import json
import math

import pytest

from lorajobs.engine.lora_config import HEADER_KEY, from_folder, from_header
from lorajobs.errors import LoraRefused
from lorajobs.lora_errors import LoraShapeMismatch, LoraUnsupported

MODULE = "down_blocks.0.attn1.to_q"


def test_without_any_alpha_none_is_told() -> None:
    assert from_header({}, "unet").strength(MODULE, 16) is None
    assert from_folder({"peft_type": "LORA", "lora_alpha": None}).strength(MODULE, 16) is None


def test_alpha_and_rslora() -> None:
    assert from_folder({"r": 16, "lora_alpha": 8}).strength(MODULE, 16) == 0.5
    rooted = from_folder({"r": 16, "lora_alpha": 8, "use_rslora": True})
    assert rooted.strength(MODULE, 16) == 8 / math.sqrt(16)


def test_loha_and_lokr_call_it_alpha() -> None:
    assert from_folder({"peft_type": "LOHA", "r": 8, "alpha": 4}).strength(MODULE, 8) == 0.5
    # Two whole halves have no rank of their own, but PEFT divides by the configuration's.
    assert from_folder({"peft_type": "LOKR", "r": 8, "alpha": 4}).strength(MODULE, 0) == 0.5


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("to_q", True),
        ("attn1.to_q", True),
        ("^down_blocks.0.attn1.to_q", True),
        (r"down_blocks\.0\.attn1\.to_q$", True),
        ("o_q", False),
        ("^attn1.to_q", False),
        ("to_k", False),
    ],
)
def test_patterns_name_modules(pattern: str, fits: bool) -> None:
    config = from_folder({"r": 4, "lora_alpha": 1, "alpha_pattern": {pattern: 3}})
    assert config.strength(MODULE, 4) == (3 if fits else 1) / 4
    ranked = from_folder({"r": 4, "lora_alpha": 4, "rank_pattern": {pattern: 8}})
    assert ranked.strength(MODULE, 8 if fits else 4)
    with pytest.raises(LoraShapeMismatch, match=f"rank {8 if fits else 4}"):
        ranked.strength(MODULE, 4 if fits else 8)


def test_the_header_names_components() -> None:
    header = {
        HEADER_KEY: json.dumps(
            {"text_encoder_2.lora_alpha": 2, "text_encoder.lora_alpha": 1, "unet.lora_alpha": 3}
        )
    }
    assert from_header(header, "text_encoder").strength("x", 4) == 1 / 4
    assert from_header(header, "text_encoder_2").strength("x", 4) == 2 / 4
    assert from_header(header, "transformer").strength("x", 4) is None
    assert from_header({HEADER_KEY: '{"lora_alpha": 7}'}, "unet").strength("x", 4) == 7 / 4


@pytest.mark.parametrize("text", ["no json", "[]", '{"unet.r": "many"}'])
def test_a_broken_header(text: str) -> None:
    with pytest.raises(LoraRefused):
        from_header({HEADER_KEY: text}, "unet")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"peft_type": "OFT"}, "peft_type"),
        ({"use_qalora": True}, "use_qalora"),
        ({"layer_replication": [[0, 4]]}, "layer_replication"),
        ({"lora_alpha": float("inf")}, "alpha"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"alpha_pattern": {"a": "b"}}, "alpha_pattern"),
    ],
)
def test_what_cannot_be_honoured(fields: dict[str, object], named: str) -> None:
    with pytest.raises(LoraUnsupported, match=named):
        from_folder(fields)


@pytest.mark.parametrize("harmless", [True, False, "gaussian", "eva"])
def test_how_it_was_initialised_matters_little(harmless: object) -> None:
    assert from_folder({"init_lora_weights": harmless}).strength("x", 4) is None


@pytest.mark.parametrize(
    ("module", "alpha"),
    [
        ("a.b.c", 1),  # the first that fits, though a longer one follows
        ("x.b", 2),
        ("b", 2),
        ("xb", 9),
        ("top", 3),
        ("a.top", 9),
    ],
)
def test_the_first_pattern_that_fits_counts(module: str, alpha: int) -> None:
    patterns = {"c": 1, "b.c": 5, "a.b.c": 6, "b": 2, "^top": 3, "x.b": 7}
    config = from_folder({"lora_alpha": 9, "alpha_pattern": patterns})
    assert config.strength(module, 1) == alpha


def test_a_pattern_that_is_no_name_counts_only_where_none_before_it_fits() -> None:
    config = from_folder({"lora_alpha": 9, "alpha_pattern": {"b": 2, "(.*)*x": 3}})
    assert config.strength("a.b", 1) == 2
    with pytest.raises(LoraUnsupported, match="is not a name"):
        config.strength("a.c", 1)
