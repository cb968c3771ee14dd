"""What the names in an adapter's file say: which module each tensor belongs to, and its part.

Trainers spell the same parts in many ways; this is the one place that knows the spellings. It reads
names only, so that it serves a header as well as a whole file.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

#: Tensors that trainers and converters leave in a file and that change nothing.
EXTRAS: Mapping[str, str] = {
    "position_ids": "the numbers 0, 1, 2 … that CLIP once stored",
    "v_pred": "a mark of ComfyUI that the base predicts velocity",
    "ztsnr": "a mark of ComfyUI that the base's noise ends in pure noise",
    "global_step": "a trainer's counter",
    "step": "a trainer's counter",
    "epoch": "a trainer's counter",
    "iteration": "a trainer's counter",
}

#: Parts that are recognised so that the refusal can say what they are.
UNSERVED: Mapping[str, str] = {
    "bias": "a bias for the adapter itself",
    "diff_b": "a difference of biases",
    "w_norm": "a trained normalisation",
    "b_norm": "a trained normalisation",
    "set_weight": "a replaced weight",
    "reshape_weight": "a weight of another shape",
    "scalar": "a trained scalar (LyCORIS)",
    "oft_blocks": "OFT",
    "oft_diag": "OFT",
    "oft_R": "OFT",
    "boft_R": "BOFT",
    "on_input": "IA³",
    "glora": "GLoRA",
    "embedding": "trained tokens, served only from embeddings.safetensors beside a LoRA",
    "norm": "a trained normalisation",
}

_TOKENS = re.compile(
    r"(?:clip_[lg]|text_encoders_\d|t5|emb_params|bundle_emb\..+|string_to_param.+)"
)
#: What stands before the name of a denoiser's module.
_ROOTS = re.compile(
    r"^(?:base_model\.model\.|diffusion_model\.|model\.diffusion_model\.|transformer\.|unet\."
    r"|lora_unet_|lora_transformer_|lycoris_)+",
    re.MULTILINE,
)

#: Factors, which are called weights.
_FACTORS = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_mid": "mid",
    **{f"{stem}{part}": part for stem in ("", "lora_") for part in ("down", "up")},
    **{f"lora.{part}": part for part in ("down", "up")},
    **{f"lora_linear_layer.{part}": part for part in ("down", "up")},
}
_OTHERS = {
    "lora_magnitude_vector": "magnitude",
    **dict.fromkeys(("lora_B.bias", "lora_up.bias", "lora.up.bias"), "bias"),
    **{part: part for part in ("alpha", "dora_scale", "diff")},
    **{f"hada_{part}": f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f"lokr_{part}": f"lokr_{part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")},
    "lokr_t2": "lokr_t2",
    **{part: part for part in UNSERVED if part not in ("bias", "glora", "embedding", "norm")},
}
_NORMS = ("query_norm", "key_norm", "norm_q", "norm_k", "norm_added_q", "norm_added_k")
#: How a tensor's name ends, and the part that it is: all that follows the module and a dot.
_ENDINGS = {
    **{f"{end}{more}.weight": _FACTORS[end] for end in _FACTORS for more in ("", ".default")},
    **{
        f"{end}{more}": _OTHERS[end]
        for end in _OTHERS
        for more in ("", ".default", ".weight", ".default.weight")
    },
    **{f"{side}{number}.weight": "glora" for side in "ab" for number in "12"},
    **{f"{norm}.{end}": "norm" for norm in _NORMS for end in ("scale", "weight")},
}
#: Ends of endings: a longer one may follow to the left.
_TAILS = {
    ending.split(".", number)[-1]
    for ending in _ENDINGS
    for number in range(1, 1 + ending.count("."))
}


class Place(NamedTuple):
    """Where a tensor belongs: a module as the file calls it, and the part of its change."""

    module: str
    #: down, up, mid, alpha, magnitude (PEFT's), dora_scale (Kohya's), diff, hada_…, lokr_…
    #: or one of `UNSERVED`
    part: str


class Inventory(NamedTuple):
    """A file's names, sorted."""

    #: module as the file calls it, part, the tensor's name
    modules: Mapping[str, Mapping[str, str]]
    #: harmless, see `EXTRAS`
    extras: tuple[str, ...]
    #: of no adapter that is known, or a second one for the same place
    unknown: tuple[str, ...]


def place(name: str) -> Place | None:
    """Where the tensor of this name belongs; None if no adapter has such names."""
    end, part = _cut(name)
    if part:
        return Place(name[:end], part)
    return Place(name, "embedding") if _TOKENS.fullmatch(name) else None


def _cut(name: str) -> tuple[int, str]:
    """Where the module ends in a tensor's name, and which part follows; empty if none does."""
    end, part, at = 0, "", len(name)
    while (at := name.rfind(".", 0, at)) > 0:
        ending = name[at + 1 :]
        if ending in _ENDINGS:
            end, part = at, _ENDINGS[ending]
        if ending not in _TAILS:
            break
    return end, part


def inventory(names: Iterable[str]) -> Inventory:
    """Sorts all the names of a file."""
    modules: dict[str, dict[str, str]] = {}
    extras, unknown = [], []
    for name in names:
        end, part = _cut(name)
        if part:
            module = name[:end]
        elif name.rpartition(".")[2] in EXTRAS:
            extras.append(name)
            continue
        elif _TOKENS.fullmatch(name):
            module, part = name, "embedding"
        else:
            unknown.append(name)
            continue
        if modules.setdefault(module, {}).setdefault(part, name) != name:
            unknown.append(name)
    return Inventory(modules, tuple(extras), tuple(unknown))


def own_name(module: str) -> str:
    """A denoiser's module without what trainers put before its name, `_` for every `.`.

    Of several modules, one a line, each.
    """
    return _ROOTS.sub("", module).replace(".", "_")


def kind(parts: Iterable[str]) -> str:
    """What a module's parts make up, for people."""
    held = set(parts)
    names = [
        ("LoHa", any(part.startswith("hada_") for part in held)),
        ("LoKr", any(part.startswith("lokr_") for part in held)),
        ("full difference", "diff" in held),
        ("LoRA", bool(held & {"down", "up", "mid"})),
    ]
    found = [name for name, there in names if there]
    found = found or sorted({UNSERVED[part] for part in held & UNSERVED.keys()})
    return ("DoRA on " if held & {"magnitude", "dora_scale"} else "") + (
        " and ".join(found) or "nothing"
    )
