"""Trained tokens: the file beside a LoRA, and what its rows are called."""

import pytest

from lorajobs.adapters.header import Header, Tensor
from lorajobs.adapters.tokens import beside, called, pickled_beside
from lorajobs.lora_errors import LoraUnsupported


@pytest.mark.parametrize(
    ("weights", "names", "expected"),
    [
        ("a.safetensors", ["embeddings.safetensors"], "embeddings.safetensors"),
        ("a.safetensors", ["embeddings.pti"], "embeddings.pti"),
        ("a.safetensors", ["embeddings.safetensors", "a_emb.safetensors"], "a_emb.safetensors"),
        ("a.safetensors", ["b_emb.safetensors"], "b_emb.safetensors"),
        ("a.safetensors", ["b.safetensors", "b_emb.safetensors"], None),
        (
            "pytorch_lora_weights.safetensors",
            ["b.safetensors", "b_emb.safetensors"],
            "b_emb.safetensors",
        ),
        ("a.safetensors", ["b_emb.safetensors", "c_emb.safetensors"], None),
        ("sub/a.safetensors", ["sub/embeddings.safetensors"], "sub/embeddings.safetensors"),
        ("sub/a.safetensors", ["embeddings.safetensors", "more/a_emb.safetensors"], None),
        ("embeddings.safetensors", [], None),
        ("a.safetensors", ["README.md"], None),
    ],
)
def test_the_file_beside_a_lora(weights: str, names: list[str], expected: str | None) -> None:
    assert beside(weights, [weights, *names]) == expected


@pytest.mark.parametrize("name", ["embeddings.pt", "learned_embeds.bin", "a_emb.pt"])
def test_a_pickle_beside_a_lora(name: str) -> None:
    assert pickled_beside("a.safetensors", ["a.safetensors", name]) == name
    assert pickled_beside("sub/a.safetensors", ["sub/a.safetensors", name]) is None
    assert pickled_beside("a.safetensors", ["a.safetensors", "optimizer.bin"]) is None


def header(**shapes: tuple[int, ...]) -> Header:
    return Header({k: Tensor("F32", v, (0, 0)) for k, v in shapes.items()}, {}, 8, 0)


SDXL = header(clip_l=(2, 768), clip_g=(2, 1280))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ((), ("<s0>", "<s1>")),
        (("pixel art",), ("<s0>", "<s1>")),
        (("a photo of <cat0><cat1>",), ("<cat0>", "<cat1>")),
        (("<cat1> <cat0>, <cat1>",), ("<cat1>", "<cat0>")),
        (("a <cat>",), ("<s0>", "<s1>")),
        (("<a> <b> <c>",), ("<s0>", "<s1>")),
    ],
)
def test_the_names_are_the_cards_or_those_of_diffusers(
    named: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert called(SDXL, "it", named) == expected


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (header(), "it holds nothing"),
        (header(clip_l=(2, 768), t5=(2, 4096)), "it holds t5"),
        (header(**{"unet.to_q.lora_A.weight": (2, 8)}), "lora_A"),
        (header(clip_l=(2, 768), clip_g=(3, 1280)), "not one row for each token"),
        (header(clip_l=(768,)), "not one row for each token"),
        (header(clip_l=(2, 768), text_encoders_0=(2, 768)), "it: two tensors are for one"),
        (header(clip_l=(0, 768)), "0 tokens, allowed are 1 to 75"),
        (header(clip_l=(76, 768)), "76 tokens, allowed are 1 to 75"),
    ],
)
def test_what_is_no_such_file_is_refused(found: Header, says: str) -> None:
    with pytest.raises(LoraUnsupported, match=says):
        called(found, "it", ())
