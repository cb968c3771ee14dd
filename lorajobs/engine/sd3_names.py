"""The names of SD3 in Stability's own code, which Kohya's trainer and ComfyUI keep.

diffusers has a converter for whole checkpoints, but none for adapters.
"""

import re
from typing import NamedTuple


class Target(NamedTuple):
    """One module of diffusers, and which share of the original's rows it is."""

    path: str
    part: int = 0
    of: int = 1
    #: True if diffusers keeps the two halves of the rows in the other order
    swapped: bool = False


_BLOCK = re.compile(r"joint_blocks_(?P<number>\d+)_(?P<stream>x|context)_block_(?P<rest>.+)")
_ATTENTIONS = {
    ("x", "attn_qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("x", "attn2_qkv"): ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    ("context", "attn_qkv"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_LAYERS = {
    ("x", "attn_proj"): "attn.to_out.0",
    ("x", "attn2_proj"): "attn2.to_out.0",
    ("x", "mlp_fc1"): "ff.net.0.proj",
    ("x", "mlp_fc2"): "ff.net.2",
    ("x", "adaLN_modulation_1"): "norm1.linear",
    ("context", "attn_proj"): "attn.to_add_out",
    ("context", "mlp_fc1"): "ff_context.net.0.proj",
    ("context", "mlp_fc2"): "ff_context.net.2",
    ("context", "adaLN_modulation_1"): "norm1_context.linear",
}
_OUTER = {
    "x_embedder_proj": Target("pos_embed.proj"),
    "context_embedder": Target("context_embedder"),
    "t_embedder_mlp_0": Target("time_text_embed.timestep_embedder.linear_1"),
    "t_embedder_mlp_2": Target("time_text_embed.timestep_embedder.linear_2"),
    "y_embedder_mlp_0": Target("time_text_embed.text_embedder.linear_1"),
    "y_embedder_mlp_2": Target("time_text_embed.text_embedder.linear_2"),
    "final_layer_linear": Target("proj_out"),
    "final_layer_adaLN_modulation_1": Target("norm_out.linear", swapped=True),
}


def targets(name: str, blocks: int) -> tuple[Target, ...]:
    """The modules of diffusers behind an original name (`_` for `.`); empty if it is none.

    `blocks` is the number of the model's transformer blocks, the last of which is another one.
    """
    match = _BLOCK.fullmatch(name)
    if match is None:
        return (_OUTER[name],) if name in _OUTER else ()
    number = int(match["number"])
    key = match["stream"], match["rest"]
    root = f"transformer_blocks.{number}."
    if key in _ATTENTIONS:
        return tuple(Target(root + path, i, 3) for i, path in enumerate(_ATTENTIONS[key]))
    if key not in _LAYERS:
        return ()
    # The last block's context only leaves through a plain norm, whose halves diffusers swaps.
    swapped = key == ("context", "adaLN_modulation_1") and number == blocks - 1
    return (Target(root + _LAYERS[key], swapped=swapped),)
