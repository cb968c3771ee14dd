"""Valid adapter files, generated: every format on every family of bases."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lorajobs.adapters.keys import EXTRAS
from tests.engine import corpus_kinds as kinds
from tests.engine.corpus_kinds import Change, Dice, Reference, Shape

#: component and module path
Spot = tuple[str, str]
Kind = Callable[[Shape, Dice], Change]
Naming = Callable[[str, str], str]


class File(NamedTuple):
    """One adapter file, and what each weight that it changes becomes."""

    tensors: Mapping[str, Tensor]
    expected: Mapping[Spot, Reference]
    metadata: Mapping[str, str] | None = None
    peft: Mapping[str, object] | None = None


class Recipe(NamedTuple):
    """A file that is made when it is needed: all of them together are large."""

    name: str
    family: str
    make: Callable[[], File]


_UNET = "down_blocks.1.attentions.0."
_BLOCK = f"{_UNET}transformer_blocks.0."
_UNET_MODULES = (
    f"{_BLOCK}attn1.to_q",
    f"{_BLOCK}attn2.to_k",
    f"{_BLOCK}attn2.to_out.0",
    f"{_BLOCK}ff.net.0.proj",
    f"{_UNET}proj_in",
)
_CONVOLUTION = "down_blocks.0.resnets.0.conv1"
_DIT_MODULES = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.1.attn.add_k_proj",
    "transformer_blocks.0.attn.to_out.0",
    "transformer_blocks.0.norm1.linear",
)
#: In some of the text encoders of transformers 5, and in every older file.
_LEVEL = "text_model."
_TEXT = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1")
_DENOISERS = {
    "sd15": _UNET_MODULES,
    "sd2": _UNET_MODULES,
    "sdxl": _UNET_MODULES,
    "sd3": _DIT_MODULES,
    "sd35": (*_DIT_MODULES, "transformer_blocks.0.attn2.to_v"),
    "flux": (*_DIT_MODULES, "single_transformer_blocks.3.attn.to_q"),
}
_TE_PREFIX = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}

Targets = Mapping[str, Mapping[str, Shape]]


def files(family: str, targets: Targets) -> Iterator[Recipe]:
    """Every valid file for one family."""
    denoiser = "unet" if "unet" in targets else "transformer"
    paths = [path for path in _DENOISERS[family] if path in targets[denoiser]]
    inner = {(denoiser, path): targets[denoiser][path] for path in paths}
    texts = {
        (component, path): shape
        for component, paths in targets.items()
        if component.startswith("text_encoder")
        for path, shape in paths.items()
        if path.removeprefix(_LEVEL) in _TEXT
    }
    maker = _Maker(family)
    yield maker.file("peft", inner | texts, kinds.peft, _dotted)
    yield maker.file("peft, the level that transformers took out", texts, kinds.peft, _dotted_old)
    yield maker.file("a model alone", inner, kinds.peft, lambda _, path: path)
    yield maker.file("old diffusers", inner, kinds.diffusers_old, _dotted)
    yield maker.file("dora of peft", inner | texts, kinds.dora_of_peft, _dotted)
    yield maker.file("with the trainer's alphas", inner, kinds.kohya, _dotted)
    yield maker.file("comfy", inner, kinds.peft, lambda _, path: f"diffusion_model.{path}")
    yield maker.file("lycoris", inner, kinds.lokr, lambda _, path: "lycoris_" + _flat(path))
    for name, kind in kinds.KINDS.items():
        yield maker.file(f"kohya {name}", inner | texts, kind, _kohya)
    yield maker.folder(inner)
    yield maker.header(denoiser, inner)
    yield maker.extras(inner)
    if denoiser == "unet":
        yield from _of_unets(maker, inner, targets)
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn):
        yield _Maker(family, dtype).file(
            f"in {dtype}", dict(list(inner.items())[:2]), kinds.peft, _dotted
        )


def _of_unets(maker: "_Maker", inner: Mapping[Spot, Shape], targets: Targets) -> Iterator[Recipe]:
    window = {("unet", _CONVOLUTION): targets["unet"][_CONVOLUTION]}
    for name, kind in {**kinds.KINDS, **kinds.WINDOWED}.items():
        yield maker.file(f"convolution, {name}", window, kind, _kohya)
    yield maker.file("convolution, dora of peft", window, kinds.dora_of_peft, _dotted)
    attention = {spot: shape for spot, shape in inner.items() if ".attn1." in spot[1]}
    yield maker.file("attention processors", attention, kinds.diffusers_old, _processor_name)


class _Maker:
    def __init__(self, family: str, dtype: torch.dtype = torch.float32) -> None:
        self.family = family
        self._dtype = dtype

    def file(self, name: str, spots: Mapping[Spot, Shape], kind: Kind, naming: Naming) -> Recipe:
        """One kind of change in all the places, under one kind of names."""
        return self._recipe(name, lambda: self._file(spots, kind, naming))

    def folder(self, spots: Mapping[Spot, Shape]) -> Recipe:
        """A PEFT folder with patterns and rslora: strength alpha / √rank."""
        first = next(iter(spots))
        config = {"peft_type": "LORA", "r": 8, "lora_alpha": 3, "use_rslora": True}
        patterns = {"rank_pattern": {spot[1]: 2 for spot in spots}, "alpha_pattern": {first[1]: 6}}

        def make() -> File:
            made = self._file(spots, kinds.peft, lambda _, path: f"base_model.model.{path}")
            strong = {
                spot: _times(each, (6 if spot == first else 3) / 2**0.5)
                for spot, each in made.expected.items()
            }
            return made._replace(expected=strong, peft=config | patterns)

        return self._recipe("peft folder", make)

    def header(self, denoiser: str, spots: Mapping[Spot, Shape]) -> Recipe:
        """diffusers' names with its configuration in the header."""
        fields = {"r": 2, "lora_alpha": 8, "bias": "none", "target_modules": [p for _, p in spots]}
        told = {f"{denoiser}.{field}": value for field, value in fields.items()}

        def make() -> File:
            made = self._file(spots, kinds.peft, _dotted)
            return made._replace(
                expected={spot: _times(each, 4) for spot, each in made.expected.items()},
                metadata={"lora_adapter_metadata": json.dumps(told)},
            )

        return self._recipe("diffusers with its header", make)

    def extras(self, spots: Mapping[Spot, Shape]) -> Recipe:
        """Everything harmless that other tools leave behind."""
        extras: dict[str, Tensor] = {name: torch.zeros(1) for name in EXTRAS}
        extras |= {"text_encoder.text_model.embeddings.position_ids": torch.arange(77)[None]}

        def make() -> File:
            made = self._file(spots, kinds.kohya, _kohya)
            metadata = {"ss_network_dim": "2", "epoch": "3"}
            return made._replace(tensors={**made.tensors, **extras}, metadata=metadata)

        return self._recipe("harmless extras", make)

    def _recipe(self, name: str, make: Callable[[], File]) -> Recipe:
        return Recipe(f"{self.family}: {name}", self.family, make)

    def _file(self, spots: Mapping[Spot, Shape], kind: Kind, naming: Naming) -> File:
        tensors: dict[str, Tensor] = {}
        expected: dict[Spot, Reference] = {}
        for seed, (spot, shape) in enumerate(spots.items()):
            change = kind(shape, Dice(seed, self._dtype))
            # Attention processors end in `_lora`, all else in a dot.
            stem = naming(*spot)
            joint = "" if stem.endswith("_") else "."
            tensors |= {f"{stem}{joint}{end}": value for end, value in change.tensors.items()}
            expected[spot] = change.reference
        return File(tensors, expected)


def _times(reference: Reference, factor: float) -> Reference:
    return lambda weight: reference(weight) * factor


def _flat(path: str) -> str:
    return path.replace(".", "_")


def _dotted(component: str, path: str) -> str:
    return f"{component}.{path}"


def _dotted_old(component: str, path: str) -> str:
    return f"{component}.{_LEVEL}{path.removeprefix(_LEVEL)}"


def _kohya(component: str, path: str) -> str:
    if component in _TE_PREFIX:
        return _TE_PREFIX[component] + _flat(_LEVEL + path.removeprefix(_LEVEL))
    return f"lora_unet_{_flat(path)}"


def _processor_name(component: str, path: str) -> str:
    owner, _, layer = path.rpartition(".")
    return f"{component}.{owner}.processor.{layer}_"
