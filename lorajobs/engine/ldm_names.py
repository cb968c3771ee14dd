"""The names of a UNet in Stability's own code (LDM, SGM), which A1111's and LyCORIS's files keep.

diffusers' converter for adapters knows few of SD 1.x and 2.x, and takes names that no UNet has.
"""

import re
from collections.abc import Sequence

_PART = re.compile(
    r"(?P<side>input_blocks|middle_block|output_blocks)_(?P<block>\d+)(?:_(?P<layer>\d+))?"
    r"(?:_(?P<rest>[a-z].*))?"
)
_OUTER = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_2": "conv_out",
}
_RESNET = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_MIDDLE = ("resnets_0", "attentions_0", "resnets_1")


def is_original(name: str) -> bool:
    """True for a name of such a kind, with `_` for `.`, whether or not it has a place."""
    return name.startswith(("input_blocks_", "middle_block_", "output_blocks_"))


def flat_path(name: str, layers: Sequence[int], has_attention: Sequence[bool]) -> str | None:
    """The path in diffusers' UNet behind an original name, both with `_` for `.`; None if none.

    `layers` are the resnets of each down block, `has_attention` says which of the blocks have any;
    the up blocks mirror them, with one resnet more. Whether the path exists is for the caller.
    """
    if name in _OUTER:
        return _OUTER[name]
    match = _PART.fullmatch(name)
    if match is None or match["rest"] is None:
        return None
    block, rest = int(match["block"]), match["rest"]
    if match["side"] == "middle_block":
        found = f"mid_block_{_MIDDLE[block]}" if block < len(_MIDDLE) else None
        return _inside(found, rest) if match["layer"] is None else None
    layer = int(match["layer"] or 0)
    if match["side"] == "input_blocks":
        return _inside(_down(block, layer, rest, layers), rest)
    return _inside(_up(block, layer, rest, layers, has_attention), rest)


def _down(block: int, layer: int, rest: str, layers: Sequence[int]) -> str | None:
    """One input block is a resnet with its attention, or a downsampler; the first is `conv_in`."""
    first = 1
    for number, count in enumerate(layers):
        if first <= block < first + count:
            return f"down_blocks_{number}_{_kind(layer)}_{block - first}"
        if block == first + count and layer == 0 and rest == "op":
            return f"down_blocks_{number}_downsamplers_0"
        first += count + 1
    return None


def _up(
    block: int, layer: int, rest: str, layers: Sequence[int], has_attention: Sequence[bool]
) -> str | None:
    """One output block is a resnet, its attention if any, and after a level's last a sampler."""
    first = 0
    levels = zip(reversed(layers), reversed(has_attention), strict=True)
    for number, (count, attention) in enumerate(levels):
        if first <= block <= first + count:
            if rest == "conv":
                is_last = block == first + count and layer == 1 + attention
                return f"up_blocks_{number}_upsamplers_0" if is_last else None
            return f"up_blocks_{number}_{_kind(layer)}_{block - first}"
        first += count + 1
    return None


def _kind(layer: int) -> str:
    return ("resnets", "attentions")[layer] if layer < 2 else "none"


def _inside(root: str | None, rest: str) -> str | None:
    if root is None:
        return None
    if "resnets" in root:
        return f"{root}_{_RESNET[rest]}" if rest in _RESNET else None
    return f"{root}_conv" if rest in ("op", "conv") else f"{root}_{rest}"
