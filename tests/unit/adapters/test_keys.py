"""The spellings of an adapter's parts."""

import pytest

from lorajobs.adapters.keys import EXTRAS, UNSERVED, inventory, kind, own_name, place

M = "down_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("name", "module", "part"),
    [
        (f"unet.{M}.lora_A.weight", f"unet.{M}", "down"),
        (f"unet.{M}.lora_B.default.weight", f"unet.{M}", "up"),
        (f"unet.{M}.lora.down.weight", f"unet.{M}", "down"),
        (f"unet.{M}.lora_linear_layer.up.weight", f"unet.{M}", "up"),
        ("lora_unet_a_b.lora_mid.weight", "lora_unet_a_b", "mid"),
        ("lora_unet_a_b.alpha", "lora_unet_a_b", "alpha"),
        ("lora_unet_a_b.dora_scale", "lora_unet_a_b", "dora_scale"),
        (f"unet.{M}.lora_magnitude_vector", f"unet.{M}", "magnitude"),
        (f"unet.{M}.lora_magnitude_vector.weight", f"unet.{M}", "magnitude"),
        ("x.hada_w1_a", "x", "hada_w1_a"),
        ("x.hada_t2", "x", "hada_t2"),
        ("x.lokr_w1", "x", "lokr_w1"),
        ("x.lokr_w2_b", "x", "lokr_w2_b"),
        ("x.diff", "x", "diff"),
        ("x.diff_b", "x", "diff_b"),
        (f"unet.{M}.lora_B.bias", f"unet.{M}", "bias"),
        (
            "double_blocks.0.processor.qkv_lora1.down.weight",
            "double_blocks.0.processor.qkv_lora1",
            "down",
        ),
        ("x.attn.norm_q.weight", "x.attn", "norm"),
        ("clip_l", "clip_l", "embedding"),
    ],
)
def test_where_a_tensor_belongs(name: str, module: str, part: str) -> None:
    assert place(name) == (module, part)


@pytest.mark.parametrize("name", ["unet.conv_in.weight", "weight", "lora_A.weight", "x.lora_A"])
def test_what_is_of_no_adapter(name: str) -> None:
    assert place(name) is None


def test_an_inventory_sorts_every_name_once() -> None:
    names = [
        "a.lora_A.weight",
        "a.lora_B.weight",
        # The same place under another spelling.
        "a.lora_down.weight",
        "a.b.position_ids",
        "v_pred",
        "conv.weight",
    ]
    found = inventory(names)
    assert found.modules == {"a": {"down": "a.lora_A.weight", "up": "a.lora_B.weight"}}
    assert found.extras == ("a.b.position_ids", "v_pred")
    assert found.unknown == ("a.lora_down.weight", "conv.weight")


@pytest.mark.parametrize(
    ("parts", "called"),
    [
        ({"down", "up", "alpha"}, "LoRA"),
        ({"down", "up", "dora_scale"}, "DoRA on LoRA"),
        ({"hada_w1_a"}, "LoHa"),
        ({"lokr_w1", "lokr_w2"}, "LoKr"),
        ({"diff"}, "full difference"),
        ({"oft_blocks"}, "OFT"),
        ({"alpha"}, "nothing"),
    ],
)
def test_kinds_have_names(parts: set[str], called: str) -> None:
    assert kind(parts) == called


@pytest.mark.parametrize(
    "name",
    ["lora_unet_a_b", "unet.a.b", "base_model.model.a.b", "diffusion_model.a.b", "lycoris_a_b"],
)
def test_a_module_without_its_trainers_prefix(name: str) -> None:
    assert own_name(name) == "a_b"


def test_every_extra_and_every_refusal_says_what_it_is() -> None:
    assert all(EXTRAS.values())
    assert all(UNSERVED.values())
