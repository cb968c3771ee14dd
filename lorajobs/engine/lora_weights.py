"""Reads an adapter for one pipeline and accounts for every tensor in its file.

diffusers loads what it recognises and drops the rest, often without a word: it takes an SD3 file
on SDXL with no effect at all, and of a file that mixes PEFT's names with its own only the part
whose names come first. Here the names are resolved one by one, and whatever is left refuses the
whole adapter.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.lora_config import from_folder, from_header
from lorajobs.errors import LoraNotApplied

V = TypeVar("V")

#: The weights that an adapter can change: component, module path, shape.
Targets = Mapping[str, Mapping[str, tuple[int, ...]]]


class Layer(NamedTuple):
    """What an adapter adds to one module's weight: `alpha / rank * up @ down`."""

    #: (rank, in, …), on the device and in the precision of the component
    down: Tensor
    #: (out, rank, …), likewise
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """The inner size of the product."""
        return self.down.shape[0]


#: An adapter ready for a pipeline: component, module path, layer.
Parts = Mapping[str, Mapping[str, Layer]]


class _Place(NamedTuple):
    component: str
    path: str
    factor: str


_FACTOR = re.compile(r"(?P<path>.+)\.(?P<factor>lora_[AB])(\.default)?\.weight")
#: One of the names of a down factor in any of the formats; each module has one.
_DOWN = re.compile(r"(lora_A|lora_down|lora\d*\.down|lora_linear_layer\.down)(\.\w+)?\.weight$")
_PEFT_PREFIX = "base_model.model."
_SHOWN = 5


def targets(pipe: DiffusionPipeline) -> Targets:
    """The linear and convolution weights of a bare pipeline's adaptable components."""
    names = getattr(pipe, "_lora_loadable_modules", ())
    found = {name: getattr(pipe, name, None) for name in names}
    return {
        name: {
            path: tuple(module.weight.shape)
            for path, module in component.named_modules()
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        }
        for name, component in found.items()
        if component is not None
    }


def read(adapter: LocalAdapter, pipe: DiffusionPipeline, into: Targets) -> Parts:
    """Reads an adapter's file and puts its factors next to the modules that they change.

    Raises: LoraNotApplied, naming up to five tensors, unless every one of them has its place,
    fits its module and is finite.
    """
    state, metadata = _tensors(adapter.path)
    factors, alphas, strange = _resolved(state, pipe, into)
    _refuse(strange, "fit no module of this base", len(state))
    folder = adapter.use.adapter.peft_config
    parts: dict[str, dict[str, Layer]] = {}
    for component in dict.fromkeys(place.component for place in factors):
        config = from_folder(folder) if folder else from_header(metadata, component)
        model = getattr(pipe, component)
        to = {"device": model.device, "dtype": model.dtype}
        for path in dict.fromkeys(p.path for p in factors if p.component == component):
            down, up = _pair(factors, component, path, into[component][path])
            alpha = alphas.get(_Place(component, path, "lora_A"))
            if alpha is None:
                alpha = config.alpha(path, down.shape[0])
            if not math.isfinite(alpha):
                raise LoraNotApplied(f"{component}.{path}: its alpha is {alpha}")
            parts.setdefault(component, {})[path] = Layer(down.to(**to), up.to(**to), alpha)
    _require_effect(parts)
    return parts


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise LoraNotApplied(f"the file cannot be read: {error}") from error


def _resolved(
    state: Mapping[str, Tensor], pipe: DiffusionPipeline, into: Targets
) -> tuple[dict[_Place, Tensor], dict[_Place, float], list[str]]:
    """The factors and alphas by place, and the keys that have none."""
    plain = {key.removeprefix(_PEFT_PREFIX): value for key, value in state.items()}
    factors, strange = _placed(plain, into)
    if not strange:
        return factors, {}, []
    if any("dora_scale" in key for key in state):
        raise LoraNotApplied("it is a DoRA (dora_scale), which this engine cannot apply")
    converted, named_alphas = _converted(state, pipe)
    factors, strange = _placed(converted, into)
    alphas, more = _placed(
        {_as_factor(key): float(value) for key, value in named_alphas.items()}, into
    )
    had = sum(1 for key in state if _DOWN.search(key))
    kept = sum(1 for place in factors if place.factor == "lora_A")
    if not strange and kept < had:
        raise LoraNotApplied(f"only {kept} of its {had} layers fit this base")
    return factors, alphas, strange + more


def _converted(
    state: Mapping[str, Tensor], pipe: DiffusionPipeline
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """What diffusers makes of the formats of other trainers: Kohya, XLabs, BFL and so on."""
    options: dict[str, object] = {"return_alphas": True, "return_lora_metadata": True}
    if hasattr(pipe, "unet") and hasattr(pipe, "text_encoder_2"):
        options["unet_config"] = pipe.unet.config  # SDXL's blocks are numbered otherwise
    try:
        converted, *alphas, _metadata = pipe.lora_state_dict(dict(state), **options)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise LoraNotApplied(
            f"its names fit neither this base nor a format that diffusers can convert: {error}"
        ) from error
    return converted, (alphas[0] if alphas and alphas[0] else {})


def _placed(entries: Mapping[str, V], into: Targets) -> tuple[dict[_Place, V], list[str]]:
    placed: dict[_Place, V] = {}
    strange = []
    for key, value in entries.items():
        place = _place(key, into)
        if place is None or place in placed:
            strange.append(key)
        else:
            placed[place] = value
    return placed, strange


def _place(key: str, into: Targets) -> _Place | None:
    head, _, rest = key.partition(".")
    # A model that was trained on its own, outside a pipeline, has no component in its names.
    candidates = [(head, rest)] if head in into else [(component, key) for component in into]
    for component, name in candidates:
        match = _FACTOR.fullmatch(_peft_name(component, name))
        for path in _spellings(match["path"]) if match else ():
            if match and path in into[component]:
                return _Place(component, path, match["factor"])
    return None


def _peft_name(component: str, name: str) -> str:
    names = {name: None}
    if component.startswith("text_encoder"):
        names = convert_state_dict_to_peft(names, original_type=StateDictType.DIFFUSERS_OLD)
        names = convert_state_dict_to_peft(names, original_type=StateDictType.DIFFUSERS)
    else:
        names = convert_unet_state_dict_to_peft(names)
    return str(next(iter(names)))


def _spellings(path: str) -> Iterable[str]:
    # transformers 5 took the level `text_model` out of CLIP's text encoder.
    return path, path.removeprefix("text_model."), f"text_model.{path}"


def _as_factor(alpha_key: str) -> str:
    name = alpha_key.removesuffix(".alpha")
    return name if name.endswith(".weight") else f"{name}.lora_A.weight"


def _pair(
    factors: Mapping[_Place, Tensor], component: str, path: str, weight: Sequence[int]
) -> tuple[Tensor, Tensor]:
    down = factors.get(_Place(component, path, "lora_A"))
    up = factors.get(_Place(component, path, "lora_B"))
    if down is None or up is None:
        raise LoraNotApplied(f"{component}.{path} has only one of its two factors")
    rank = down.shape[0] if down.ndim else 0
    wanted = (rank, *weight[1:]), (weight[0], rank, *(1,) * (len(weight) - 2))
    if rank == 0 or (tuple(down.shape), tuple(up.shape)) != wanted:
        raise LoraNotApplied(
            f"{component}.{path}: factors of shape {tuple(down.shape)} and {tuple(up.shape)} "
            f"do not fit its weight of shape {tuple(weight)}"
        )
    return down, up


def _require_effect(parts: Parts) -> None:
    layers = {
        f"{component}.{path}": layer
        for component, part in parts.items()
        for path, layer in part.items()
    }
    if not layers:
        raise LoraNotApplied("the file holds no LoRA layers")
    # Stacked, so that a GPU is waited for once and not for each tensor.
    finite = torch.stack([x.down.isfinite().all() & x.up.isfinite().all() for x in layers.values()])
    broken = [name for name, ok in zip(layers, finite.tolist(), strict=True) if not ok]
    _refuse(broken, "are not finite in the base's precision (NaN or infinite)", len(layers))
    if not torch.stack([x.down.any() & x.up.any() for x in layers.values()]).any():
        raise LoraNotApplied("all its weights are zero, so it cannot change anything")


def _refuse(names: Sequence[str], why: str, of: int) -> None:
    if names:
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        raise LoraNotApplied(f"{len(names)} of its {of} tensors {why}: {shown}")
