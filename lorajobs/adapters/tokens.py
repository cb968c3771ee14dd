"""Tokens that were trained with an adapter (pivotal tuning): the file, and what they are called.

diffusers' training scripts, ComfyUI and cog write one tensor for each text encoder, a row for each
token, and no names.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from lorajobs.adapters.anatomy import listed
from lorajobs.adapters.header import Header
from lorajobs.lora_errors import LoraUnsupported

#: The text encoder of the pipeline that a tensor's rows belong to.
ENCODERS: Mapping[str, str] = {
    "clip_l": "text_encoder",
    "text_encoders_0": "text_encoder",
    "emb_params": "text_encoder",
    "clip_g": "text_encoder_2",
    "text_encoders_1": "text_encoder_2",
}
#: As many as a text encoder reads.
MAX_TOKENS = 75

_NAMES = ("embeddings.safetensors", "embeddings.pti")
_SUFFIX = "_emb.safetensors"
#: The weights that diffusers' scripts write, whatever they call the tokens.
_DIFFUSERS = "pytorch_lora_weights.safetensors"
#: Of the largest text encoders so many tokens are 5 MB.
MAX_BYTES = 16 << 20
_PICKLED = re.compile(r"(embeddings|learned_embeds|.*_emb)\.(bin|pt|pth|ckpt|pkl|pickle)")
_WORD = re.compile(r"<[^<>\s]{1,32}>")


def is_tokens(name: str) -> bool:
    """True for a file that is called as those of trained tokens are."""
    own = PurePosixPath(name).name
    return own in _NAMES or own.endswith(_SUFFIX)


def beside(weights: str, names: Sequence[str]) -> str | None:
    """The file of trained tokens that belongs to a weight file, None if there is none."""
    path = PurePosixPath(weights)
    held = [n for n in names if PurePosixPath(n).parent == path.parent and n != weights]
    wanted = [str(path.with_name(name)) for name in (f"{path.stem}{_SUFFIX}", *_NAMES)]
    others = [name for name in held if name.endswith(_SUFFIX)]
    is_only = all(is_tokens(name) for name in held if name.endswith(".safetensors"))
    if len(others) == 1 and (is_only or path.name == _DIFFUSERS):
        wanted += others
    return next((name for name in wanted if name in held), None)


def pickled_beside(weights: str, names: Sequence[str]) -> str | None:
    """A pickle of trained tokens beside a weight file, None if there is none."""
    path = PurePosixPath(weights)
    held = (n for n in names if PurePosixPath(n).parent == path.parent)
    return next((n for n in held if _PICKLED.fullmatch(PurePosixPath(n).name)), None)


def called(header: Header, file: str, named: Sequence[str]) -> tuple[str, ...]:
    """What the rows are called: the words in angle brackets in `named` if there are as many.

    Else `<s0>`, `<s1>` …, as diffusers' scripts call them. `named` are texts of the model card.
    Raises: LoraUnsupported, which calls the file `file`.
    """
    strange = [name for name in header.tensors if name not in ENCODERS]
    if strange or not header.tensors:
        raise LoraUnsupported(
            f"{file} should hold trained tokens for CLIP's text encoders, as clip_l and clip_g; "
            f"it holds {listed(strange) or 'nothing'}"
        )
    shapes = {tensor.shape for tensor in header.tensors.values()}
    if any(len(shape) != 2 for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
        raise LoraUnsupported(
            f"{file}: its tensors are not one row for each token: {sorted(shapes)}"
        )
    if len({ENCODERS[name] for name in header.tensors}) != len(header.tensors):
        raise LoraUnsupported(f"{file}: two tensors are for one encoder: {listed(header.tensors)}")
    rows = next(iter(shapes))[0]
    if not 0 < rows <= MAX_TOKENS:
        raise LoraUnsupported(f"{file} holds {rows} tokens, allowed are 1 to {MAX_TOKENS}")
    words = tuple(dict.fromkeys(word for text in named for word in _WORD.findall(text)))
    return words if len(words) == rows else tuple(f"<s{row}>" for row in range(rows))
