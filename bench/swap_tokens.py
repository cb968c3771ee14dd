"""Trained tokens and hostile files on this device: what comes leaves, to the bit."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from bench import sdxl
from bench.report import Part, at_least
from lorajobs.catalog import DEMO
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.racks import open_rack
from lorajobs.engine.token_rack import TokenRack
from lorajobs.engine.vocabulary import Vocabulary
from lorajobs.errors import LoraRefused
from lorajobs.spec import Embeddings, PinnedFile

NAMES = ("<s0>", "<s1>")
PROMPT = "a <s0><s1> heart"
_COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
State = dict[str, Tensor]


def _not_finite(state: State) -> State:
    name = max(state)
    return state | {name: state[name] / 0}


#: What is done to the tensors of a good file, and the code that refuses it then.
HOSTILE: Mapping[str, Callable[[State], State]] = {
    "lora_not_finite": _not_finite,
    "lora_no_effect": lambda state: {name: value * 0 for name, value in state.items()},
    "lora_shape_mismatch": lambda state: {n: v[..., :-1].contiguous() for n, v in state.items()},
    "lora_unknown_keys": lambda state: state | {"unet.nowhere": torch.ones(1)},
}


class _Base:
    """A small SDXL with tokenizers, its rack, and another one for diffusers' own way."""

    def __init__(self, device: torch.device, folder: Path) -> None:
        self.pipe, self.twin = (_with_tokenizers(device) for _ in "12")
        # Apart from the twin, where diffusers changes them in place.
        rack = open_rack(self.pipe, device, "auto", 1 << 28)
        self.rack = TokenRack(rack, Vocabulary(self.pipe))
        self.file = folder / "it.safetensors"
        sdxl.adapter_file(self.file, sdxl.linears(self.pipe, encoders=False), 8, 0, device)
        widths = {"clip_l": sdxl.SMALL.encoders[0][0], "clip_g": sdxl.SMALL.encoders[1][0]}
        self.rows = {name: torch.randn(len(NAMES), width) for name, width in widths.items()}
        self.tokens = folder / "it_emb.safetensors"
        save_file(self.rows, self.tokens)

    def adapter(self) -> LocalAdapter:
        """The good one."""
        use, path, _ = sdxl.local(self.file)
        shared = set(PinnedFile.model_fields)
        held = sdxl.local(self.tokens).use.adapter.model_dump(include=shared)
        tokens = Embeddings(**held, tokens=NAMES)
        pinned = use.adapter.model_copy(update={"embeddings": tokens})
        return LocalAdapter(use.model_copy(update={"adapter": pinned}), path, self.tokens)

    def is_bare(self) -> bool:
        """True if nothing of any adapter is left."""
        same = sdxl.equal(self.pipe, self.twin, _COMPONENTS)
        return same and not self.rack.applied and len(self.pipe.tokenizer) == self._words

    @property
    def _words(self) -> int:
        return len(_tokenizer())


def tokens(device: torch.device) -> Part:
    """The text's encodings with an adapter's tokens against diffusers' own, and after it left."""
    with tempfile.TemporaryDirectory() as folder:
        base = _Base(device, Path(folder))
        bare = _encoded(base.pipe)
        base.rack.activate([base.adapter()])
        with_them = _encoded(base.pipe)
        for _ in range(20):
            base.rack.check()
        base.rack.activate([])
        gone = _same(bare, _encoded(base.pipe)) and base.is_bare()
        refused = sum(_is_refused(base, code) for code in HOSTILE)
        base.rack.activate([base.adapter()])
        again = _same(with_them, _encoded(base.pipe))
        base.rack.activate([])
        theirs = _by_diffusers(base)
    figures = {
        "tokens_as_diffusers": float(_same(with_them, theirs) and not _same(with_them, bare)),
        "tokens_gone": float(gone),
        "tokens_again": float(again),
        "hostile_refused": refused,
    }
    goals = [
        at_least(
            "tokens: encodings as by diffusers, to the bit", figures["tokens_as_diffusers"], 1
        ),
        at_least("tokens: gone afterwards, base bit-exact", figures["tokens_gone"], 1),
        at_least("tokens: the same again after refused files", figures["tokens_again"], 1),
        at_least("hostile files refused, base bit-exact", refused, len(HOSTILE)),
    ]
    rows = [(name, f"{value:g}") for name, value in figures.items()]
    return Part("Tokens and hostile files", ("figure", ""), rows, figures, goals)


def _is_refused(base: _Base, code: str) -> bool:
    path = base.file.with_name(f"{code}.safetensors")
    save_file(HOSTILE[code](load_file(base.file)), path)
    try:
        base.rack.activate([base.adapter(), sdxl.local(path)])
    except LoraRefused as error:
        return error.code == code and base.is_bare()
    return False


def _by_diffusers(base: _Base) -> Sequence[Tensor]:
    pairs = (("clip_l", "text_encoder", "tokenizer"), ("clip_g", "text_encoder_2", "tokenizer_2"))
    for part, encoder, tokenizer in pairs:
        base.twin.load_textual_inversion(
            base.rows[part],
            token=list(NAMES),
            text_encoder=getattr(base.twin, encoder),
            tokenizer=getattr(base.twin, tokenizer),
        )
    return _encoded(base.twin)


@torch.inference_mode()
def _encoded(pipe: DiffusionPipeline) -> Sequence[Tensor]:
    """The encodings of the prompt, (1, 77, width) and (1, width)."""
    made = pipe.encode_prompt(PROMPT, device=pipe.device, do_classifier_free_guidance=False)
    return [part.clone() for part in made if part is not None]


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _tokenizer() -> CLIPTokenizer:
    made: CLIPTokenizer = CLIPTokenizer.from_pretrained(
        DEMO.parent / "base" / "tokenizer", model_max_length=77
    )
    return made


def _with_tokenizers(device: torch.device) -> DiffusionPipeline:
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    pipe = sdxl.pipeline(sdxl.SMALL, device, dtype)
    pipe.register_modules(tokenizer=_tokenizer(), tokenizer_2=_tokenizer())
    return pipe
