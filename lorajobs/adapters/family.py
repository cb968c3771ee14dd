"""The families of base models, and which of them a base or an adapter belongs to.

Two bases of one family have modules of the same names and shapes, so that an adapter of one can be
applied to the other. The names and shapes are the evidence, never what a file says of itself.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SD1 = "Stable Diffusion 1.x"
SD2 = "Stable Diffusion 2.x"
SDXL = "SDXL"
SD3 = "Stable Diffusion 3"
FLUX = "Flux.1"
FLUX2 = "Flux.2"
QWEN = "Qwen-Image"
WAN = "Wan"
PIXART = "PixArt"
Z_IMAGE = "Z-Image"
HUNYUAN = "HunyuanVideo"


#: What tells a base's family, inside its folder.
MODEL_INDEX, UNET_CONFIG = "model_index.json", "unet/config.json"


class Sign(NamedTuple):
    """What only one family has."""

    family: str
    #: a part of a module's name
    name: str
    #: input widths of the weight of such a module; none: any
    widths: tuple[int, ...] = ()


_UNET = r"(down|up|mid|input|output|middle)_block"
_TEXT = rf"{_UNET}.*attn2_to_[kv]"
#: The table. A text encoder's width is no sign: several families share their encoders.
SIGNS = (
    Sign(SD1, _TEXT, (768,)),
    Sign(SD2, _TEXT, (1024,)),
    Sign(SDXL, _TEXT, (2048,)),
    # Only SDXL has more than one transformer block in one attention.
    Sign(SDXL, rf"{_UNET}.*transformer_blocks_[1-9]_.*attn\d_to_[qkv]", (640, 1280, 2048)),
    Sign(SD3, r"joint_blocks_\d+_(x|context)_block", (1536, 2432, 6144, 9728)),
    # 1536 and 2432 wide are the medium and the large model.
    Sign(SD3, r"^transformer_blocks_\d+_attn2?_(to|add)_", (1536, 2432)),
    Sign(FLUX, r"double_blocks_\d+_(img|txt)_(attn|mlp|mod)", (3072, 12288)),
    Sign(FLUX, r"single_blocks_\d+_(linear[12]|modulation_lin)", (3072, 15360)),
    Sign(FLUX, r"(double|single)_blocks_\d+_processor", (3072,)),
    Sign(FLUX, r"single_transformer_blocks_\d+_(attn_to_[qkv]|proj_|norm_)", (3072, 15360)),
    Sign(FLUX2, r"(double|single)_blocks_\d+_", (6144, 4096)),
    Sign(FLUX2, r"single_transformer_blocks_\d+_attn_to_qkv_mlp_proj"),
    Sign(FLUX2, r"(double|single)_stream_modulation"),
    # Its other names are Flux's, so it only takes their proof away; no base is said to be one.
    Sign(HUNYUAN, r"(double|single)_blocks_\d+_.*(img|txt)_mod_linear"),
    Sign(QWEN, r"^transformer_blocks_\d+_(img|txt)_(mlp|mod)_"),
    Sign(WAN, r"^blocks_\d+_(self|cross)_attn_[qkvo]$"),
    Sign(PIXART, r"^transformer_blocks_\d+_attn[12]_to_", (1152,)),
    Sign(Z_IMAGE, r"^(layers|noise_refiner|context_refiner)_\d+_attention_"),
)
#: They search all names of one width at once, one in each line.
_PATTERNS = tuple((sign, re.compile(sign.name, re.MULTILINE)) for sign in SIGNS)

#: Pipelines of diffusers by how their class begins; the longer ones first.
_CLASSES = (
    ("StableDiffusionXL", SDXL),
    ("StableDiffusion3", SD3),
    ("Flux2", FLUX2),
    ("Flux", FLUX),
    ("QwenImage", QWEN),
    ("Wan", WAN),
    ("PixArt", PIXART),
    ("ZImage", Z_IMAGE),
)
_TEXT_WIDTHS = {768: SD1, 1024: SD2, 2048: SDXL}


def of_adapter(texts: Mapping[int | None, str]) -> str | None:
    """The one family that the signs point to; None if there is no sign, or they contradict.

    `texts` are the names of the modules with `_` for `.`, one a line, by the input width of the
    weight; None: not known.
    """
    found = {
        sign.family
        for sign, pattern in _PATTERNS
        if any(pattern.search(texts[width]) for width in sign.widths or texts if width in texts)
    }
    return found.pop() if len(found) == 1 else None


def of_pipeline(name: str, text_width: object) -> str | None:
    """The family of a base, given its pipeline's class and its UNet's `cross_attention_dim`."""
    for start, family in _CLASSES:
        if name.startswith(start):
            return family
    if not name.startswith("StableDiffusion"):
        return None
    if isinstance(text_width, int) and text_width not in _TEXT_WIDTHS:
        return f"Stable Diffusion with texts {text_width} wide"
    return _TEXT_WIDTHS[text_width] if isinstance(text_width, int) else None


def class_of(index: Path | None) -> str | None:
    """The class of a base's pipeline by its `MODEL_INDEX`; None if that does not tell."""
    name = _json(index).get("_class_name")
    return name if isinstance(name, str) else None


def of_files(index: Path | None, unet: Path | None) -> str | None:
    """The family of a base by its `MODEL_INDEX` and `UNET_CONFIG`; None if they do not tell."""
    return of_pipeline(class_of(index) or "", _json(unet).get("cross_attention_dim"))


def _json(path: Path | None) -> Mapping[str, object]:
    try:
        held = json.loads(path.read_bytes()) if path else None
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
