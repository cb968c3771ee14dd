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

_FACTOR = re.compile(
    r"(?P<module>.+?)\."
    r"(?:lora_(?P<name>A|B|down|up|mid)|(?:lora\.|lora_linear_layer\.)?(?P<plain>down|up))"
    r"(?:\.default)?\.weight"
)
_OTHER = re.compile(
    r"(?P<module>.+)\."
    r"(?P<part>alpha|dora_scale|lora_magnitude_vector"
    r"|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2)|diff"
    r"|diff_b|w_norm|b_norm|set_weight|reshape_weight|scalar"
    r"|oft_blocks|oft_diag|oft_R|boft_R|on_input|(?:lora_B|lora_up|lora\.up)\.bias)"
    r"(?:\.default)?(?:\.weight)?"
)
_GLORA = re.compile(r"(?P<module>.+)\.[ab][12]\.weight")
_TOKENS = re.compile(
    r"(?:clip_[lg]|text_encoders_\d|t5|emb_params|bundle_emb\..+|string_to_param.+)"
)
_NORM = re.compile(
    r"(?P<module>.+)\.(?:query_norm|key_norm|norm_(?:added_)?[qk])\.(?:scale|weight)"
)
#: What stands before the name of a denoiser's module.
_ROOTS = re.compile(
    r"^(?:base_model\.model\.|diffusion_model\.|model\.diffusion_model\.|transformer\.|unet\."
    r"|lora_unet_|lora_transformer_|lycoris_)+"
)
_PARTS = {
    "A": "down",
    "B": "up",
    "lora_magnitude_vector": "magnitude",
    "lora_B.bias": "bias",
    "lora_up.bias": "bias",
    "lora.up.bias": "bias",
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
    if match := _FACTOR.fullmatch(name):
        part = match["name"] or match["plain"]
        return Place(match["module"], _PARTS.get(part, part))
    if match := _OTHER.fullmatch(name):
        return Place(match["module"], _PARTS.get(match["part"], match["part"]))
    if match := _GLORA.fullmatch(name):
        return Place(match["module"], "glora")
    if match := _NORM.fullmatch(name):
        return Place(match["module"], "norm")
    return Place(name, "embedding") if _TOKENS.fullmatch(name) else None


def inventory(names: Iterable[str]) -> Inventory:
    """Sorts all the names of a file."""
    modules: dict[str, dict[str, str]] = {}
    extras, unknown = [], []
    for name in names:
        found = place(name)
        if name.rpartition(".")[2] in EXTRAS:
            extras.append(name)
        elif found is None or found.part in modules.get(found.module, ()):
            unknown.append(name)
        else:
            modules.setdefault(found.module, {})[found.part] = name
    return Inventory(modules, tuple(extras), tuple(unknown))


def own_name(module: str) -> str:
    """A denoiser's module without what trainers put before its name, `_` for every `.`."""
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
