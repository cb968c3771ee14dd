import pytest

from lorajobs.adapters.folder import Choice, choose, peft_config
from lorajobs.errors import (
    LoraInvalidFile,
    LoraJobsError,
    LoraNotFound,
    LoraPickle,
    LoraSeveralFiles,
)

PEFT = ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.parametrize(
    ("names", "weight_name", "expected"),
    [
        (["README.md", "x.safetensors"], None, Choice("x.safetensors", None)),
        (["x.safetensors"], "x.safetensors", Choice("x.safetensors", None)),
        (["x.safetensors", "x.bin"], None, Choice("x.safetensors", None)),
        (["a.safetensors", "b.safetensors"], "b.safetensors", Choice("b.safetensors", None)),
        (PEFT, None, Choice(PEFT[1], PEFT[0])),
        (PEFT, PEFT[1], Choice(PEFT[1], PEFT[0])),
        ([*PEFT, "optimizer.safetensors"], None, Choice(PEFT[1], PEFT[0])),
        ([*PEFT, "b.safetensors"], "b.safetensors", Choice("b.safetensors", None)),
        (["adapter_model.safetensors"], None, Choice(PEFT[1], None)),
        (
            ["x.safetensors", "checkpoint-500/y.safetensors"],
            None,
            Choice("x.safetensors", None),
        ),
        (["README.md", "sub/y.safetensors"], None, Choice("sub/y.safetensors", None)),
        (
            ["sub/adapter_config.json", "sub/adapter_model.safetensors"],
            None,
            Choice("sub/adapter_model.safetensors", "sub/adapter_config.json"),
        ),
        (
            ["x.safetensors", "embeddings.safetensors"],
            None,
            Choice("x.safetensors", None, "embeddings.safetensors"),
        ),
        (
            ["x.safetensors", "y.safetensors", "x_emb.safetensors"],
            "x.safetensors",
            Choice("x.safetensors", None, "x_emb.safetensors"),
        ),
        ([*PEFT, "embeddings.pti"], None, Choice(PEFT[1], PEFT[0], "embeddings.pti")),
        (["x_emb.safetensors"], None, Choice("x_emb.safetensors", None)),
    ],
)
def test_the_weight_file_is_found(
    names: list[str], weight_name: str | None, expected: Choice
) -> None:
    assert choose(names, weight_name, "here") == expected


@pytest.mark.parametrize(
    ("names", "weight_name", "error", "says"),
    [
        (["b.safetensors", "a.safetensors"], None, LoraSeveralFiles, "a.safetensors, b.safeten"),
        (["x/a.safetensors", "y/b.safetensors"], None, LoraSeveralFiles, "y/b.safetensors"),
        (["x.safetensors", "embeddings.pt"], None, LoraPickle, "trained tokens in embeddings.pt"),
        (["x.safetensors", "a_emb.safetensors", "b_emb.safetensors"], None, LoraSeveralFiles, "b_"),
        (["a.bin", "b.pt", "c.ckpt", "d.pkl"], None, LoraPickle, "a.bin, b.pt, c.ckpt, d.pkl"),
        (["a.bin", "b.safetensors"], "a.bin", LoraPickle, "a.bin is a pickle"),
        ([], None, LoraNotFound, "it is empty"),
        (["README.md"], None, LoraNotFound, "there is: README.md"),
        (["adapter_config.json"], None, LoraNotFound, "adapter_model.safetensors is missing"),
        (["adapter_config.json", "adapter_model.bin"], None, LoraPickle, "adapter_model.bin"),
        (["pixel.safetensors"], "pixle.safetensors", LoraNotFound, "did you mean pixel.safet"),
        (["a.safetensors"], "../a.safetensors", LoraNotFound, "there is no ../a.safetensors"),
        (["a.txt"], "a.txt", LoraNotFound, "a.txt is not a .safetensors file"),
    ],
)
def test_what_is_missing_where_is_said(
    names: list[str], weight_name: str | None, error: type[LoraJobsError], says: str
) -> None:
    with pytest.raises(error) as raised:
        choose(names, weight_name, "s3://bucket/here")
    assert says in raised.value.detail
    assert raised.value.detail.startswith("s3://bucket/here")


def test_a_long_list_is_cut() -> None:
    names = [f"{i:03}.safetensors" for i in range(500)]
    with pytest.raises(LoraSeveralFiles, match=r"019\.safetensors and 480 more"):
        choose(names, None, "here")


def test_a_peft_config_is_an_object() -> None:
    assert peft_config(b'{"r": 8}', "here") == {"r": 8}
    for raw in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(LoraInvalidFile, match=r"adapter_config\.json"):
            peft_config(raw, "here")
