"""Any order of use on a real pipeline, its real reader and real files: the base stays exact."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.lora_weights import Reader
from lorajobs.engine.racks import open_rack
from lorajobs.engine.token_rack import TokenRack
from lorajobs.engine.vocabulary import Vocabulary
from lorajobs.errors import LoraRefused
from lorajobs.spec import AdapterUse
from tests.engine import corpus
from tests.engine.adapters import local, saved
from tests.engine.rack import Faulty
from tests.engine.test_tokens import bringing
from tests.engine.tiny import sdxl

#: Formats that are summed in different ways, with both text encoders; the last brings tokens.
KINDS = ("peft", "kohya lora", "kohya dora", "kohya loha", "lycoris", "tokens")
#: What is done to a good file's bytes.
HOSTILE = {
    "truncated": lambda raw: raw[:-3],
    "a length that lies": lambda raw: (2**40).to_bytes(8, "little") + raw[8:],
    "not finite": lambda raw: raw[:-4] + b"\x00\x00\xc0\x7f",
    "a strange name": lambda raw: raw.replace(b"unet.", b"moon."),
}
SETS = st.dictionaries(st.sampled_from(KINDS), st.sampled_from([-1.0, 0.5, 1.0]), max_size=3)
#: Of host memory for adapters: not enough for all of them.
BUDGET = 60_000


@cache
def shelf() -> tempfile.TemporaryDirectory[str]:
    """Where the files lie; it goes with the process."""
    return tempfile.TemporaryDirectory()


def pipeline() -> DiffusionPipeline:
    """A tiny SDXL, always with the same weights."""
    torch.manual_seed(0)
    return sdxl()


@cache
def file(kind: str) -> LocalAdapter:
    """One adapter of each kind, and one of each that is refused."""
    if kind == "tokens":
        rows = {name: torch.full((2, 32), 0.25) for name in ("clip_l", "clip_g")}
        return bringing(
            Path(shelf().name), rows, module="down_blocks.1.attentions.0.proj_in", shape=(64, 64)
        )
    if kind in HOSTILE:
        path = Path(shelf().name) / f"{kind}.safetensors"
        path.write_bytes(HOSTILE[kind](file("peft").path.read_bytes()))
        return local(path)
    recipes = corpus.files("sdxl", Reader(pipeline()).targets)
    made = next(recipe for recipe in recipes if recipe.name == f"sdxl: {kind}").make()
    return local(saved(Path(shelf().name) / f"{kind}.safetensors", made.tensors))


def asked(chosen: dict[str, float]) -> list[LocalAdapter]:
    """The adapters of a set at their scales."""
    return [
        LocalAdapter(AdapterUse(adapter=file(kind).use.adapter, scale=scale), *file(kind)[1:])
        for kind, scale in chosen.items()
    ]


class Bed:
    """A pipeline and its rack, as an engine has them."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.pipe = pipe
        weights = open_rack(pipe, torch.device("cpu"), "auto", BUDGET)
        assert isinstance(weights, InPlaceRack)
        self.weights = weights
        self.fuser = self.weights.fuser = Faulty(weights.arena)
        self.rack = TokenRack(weights, Vocabulary(pipe))

    def digest(self) -> str:
        """A hash of every weight of the components that adapters change, and of the tokenizers."""
        digest = hashlib.sha256()
        for name in ("unet", "text_encoder", "text_encoder_2"):
            for key, value in sorted(getattr(self.pipe, name).state_dict().items()):
                digest.update(key.encode())
                digest.update(value.contiguous().view(torch.uint8).numpy().tobytes())
        for tokenizer in (self.pipe.tokenizer, self.pipe.tokenizer_2):
            digest.update(repr(sorted(tokenizer.get_vocab().items())).encode())
        return digest.hexdigest()


@cache
def expected(chosen: frozenset[tuple[str, float]]) -> str:
    """The digest of a fresh base on which nothing but this set was ever put."""
    bed = Bed(pipeline())
    bed.rack.activate(asked(dict(chosen)))
    return bed.digest()


class RealMachine(RuleBasedStateMachine):
    """One pipeline, and the set that must be on."""

    @initialize()
    def start(self) -> None:
        self.bed = Bed(pipeline())
        self.on: dict[str, float] = {}

    @rule(chosen=SETS)
    def apply(self, chosen: dict[str, float]) -> None:
        self.bed.rack.activate(asked(chosen))
        self.on = chosen

    @rule(chosen=SETS, kind=st.sampled_from(sorted(HOSTILE)))
    def refuse(self, chosen: dict[str, float], kind: str) -> None:
        with pytest.raises(LoraRefused):
            self.bed.rack.activate([*asked(chosen), file(kind)])
        self.on = {}

    @rule(chosen=SETS, after=st.integers(0, 6))
    def fail(self, chosen: dict[str, float], after: int) -> None:
        self.bed.fuser.left = after
        try:
            self.bed.rack.activate(asked(chosen))
        except MemoryError:
            self.on = {}
        else:
            self.on = chosen
        self.bed.fuser.left = None

    @rule(kind=st.sampled_from(KINDS))
    def preload(self, kind: str) -> None:
        self.bed.rack.preload(asked({kind: 1.0}))

    @rule()
    def evict(self) -> None:
        self.bed.weights.forget()
        held = {adapter.use.adapter.sha256 for adapter in asked(self.on)}
        assert {*self.bed.rack.resident()} == held

    @rule()
    def restart(self) -> None:
        """Another rack takes over the same base, as it was left."""
        self.bed.rack.activate([])
        self.bed = Bed(self.bed.pipe)
        self.on = {}

    @invariant()
    def all_is_as_on_a_fresh_base(self) -> None:
        assert self.bed.digest() == expected(frozenset(self.on.items()))
        assert {lora.sha256 for lora in self.bed.rack.applied} == {
            adapter.use.adapter.sha256 for adapter in asked(self.on)
        }
        self.bed.rack.check()


TestRealMachine = RealMachine.TestCase
TestRealMachine.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)
