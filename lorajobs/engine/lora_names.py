"""Which weights of a base an adapter's modules stand for, however its trainer called them."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.state_dict_utils import (
    StateDictType,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from torch import Tensor

from lorajobs.adapters.keys import own_name, place
from lorajobs.engine import sd3_names
from lorajobs.engine.ldm_names import flat_path, is_original

#: The weights that an adapter can change: component, module path, shape.
Targets = Mapping[str, Mapping[str, tuple[int, ...]]]

_PEFT = "base_model.model."
#: What Kohya's and LyCORIS's trainers write before a flattened path; the longer ones first.
_FLAT = (
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"),
    ("lora_unet_", ""),
    ("lora_transformer_", ""),
    ("lycoris_", ""),
)
_DENOISERS = ("unet", "transformer")
#: Some trainers' favourite sets of modules: one that diffusers converts takes a second.
_REMEMBERED = 16


class Module(NamedTuple):
    """One module of a file: what it is called, and the whole name of one of its tensors."""

    name: str
    tensor: str
    #: rows of the weight that it changes
    rows: int


class Spot(NamedTuple):
    """One weight of the base, and which rows of the file's module are its own; None: all."""

    component: str
    path: str
    rows: Tensor | None = None


class Names:
    """The names of one base's weights."""

    def __init__(self, pipe: DiffusionPipeline, targets: Targets) -> None:
        self._pipe = pipe
        self._targets = targets
        self._flat = {name: _flattened(paths) for name, paths in targets.items()}
        self._denoiser = next((name for name in _DENOISERS if name in targets), None)
        self._spots: OrderedDict[tuple[Module, ...], Mapping[str, Sequence[Spot]]] = OrderedDict()

    def spots(self, modules: Iterable[Module]) -> Mapping[str, Sequence[Spot]]:
        """The weights behind each module, by its name; a module without any is left out."""
        key = tuple(modules)
        if key not in self._spots:
            self._spots[key] = self._found(key)
            while len(self._spots) > _REMEMBERED:
                self._spots.popitem(last=False)
        return self._spots[key]

    def _found(self, modules: Iterable[Module]) -> Mapping[str, Sequence[Spot]]:
        found: dict[str, Sequence[Spot]] = {}
        foreign = []
        for module in modules:
            spot = self._direct(module.name) or self._as_diffusers_did(module.tensor)
            if spot:
                found[module.name] = (spot,)
            elif original := self._as_stability_did(module):
                found[module.name] = original
            elif self._denoiser != "unet" or not is_original(own_name(module.name)):
                foreign.append(module)
        return found | self._converted(foreign)

    def _direct(self, name: str) -> Spot | None:
        """By the base's own path, dotted or flattened, with or without its component."""
        name = name.removeprefix(_PEFT)
        head, dot, rest = name.partition(".")
        if dot and head in self._flat:
            return self._look_up((head,), rest)
        for prefix, component in _FLAT:
            if name.startswith(prefix):
                owner = component or self._denoiser
                return self._look_up((owner,), name.removeprefix(prefix)) if owner else None
        # A model that was trained on its own, outside a pipeline, has no component in its names.
        return self._look_up(self._flat, name) or self._look_up(self._flat, own_name(name))

    def _look_up(self, components: Iterable[str], name: str) -> Spot | None:
        flat = name.replace(".", "_")
        for component in components:
            path = self._flat.get(component, {}).get(flat)
            if path:
                return Spot(component, path)
        return None

    def _as_diffusers_did(self, tensor: str) -> Spot | None:
        """By the names that diffusers used before it took PEFT's."""
        head, dot, rest = tensor.removeprefix(_PEFT).partition(".")
        inside = dot and head in self._flat
        for component in (head,) if inside else self._flat:
            renamed = place(_peft_name(component, rest if inside else tensor))
            if renamed and (spot := self._look_up((component,), renamed.module)):
                return spot
        return None

    def _as_stability_did(self, module: Module) -> tuple[Spot, ...]:
        if self._denoiser == "unet":
            return self._as_ldm_did(module)
        if self._denoiser is None or type(self._pipe).__name__[:16] != "StableDiffusion3":
            return ()
        blocks = self._pipe.transformer.config.num_layers
        found = sd3_names.targets(own_name(module.name), blocks)
        known = self._targets[self._denoiser]
        if not found or any(t.path not in known or module.rows % (2 * t.of) for t in found):
            return ()
        return tuple(Spot(self._denoiser, t.path, _rows(t, module.rows)) for t in found)

    def _as_ldm_did(self, module: Module) -> tuple[Spot, ...]:
        config = self._pipe.unet.config
        kinds, each = config.down_block_types, config.layers_per_block
        layers = [each] * len(kinds) if isinstance(each, int) else list(each)
        flat = flat_path(own_name(module.name), layers, ["Attn" in kind for kind in kinds])
        spot = self._look_up(("unet",), flat) if flat else None
        return (spot,) if spot else ()

    def _converted(self, modules: Sequence[Module]) -> dict[str, Sequence[Spot]]:
        """By what diffusers' converters for other trainers make of the names.

        They are given probes in place of the weights: the first factor is the module's number, the
        second the numbers of its rows. So the result shows where every row went, whatever the
        format of the weights is, and what a converter dropped without a word is missing.
        """
        found: dict[str, Sequence[Spot]] = {}
        for style in (_kohya_probe, _xlabs_probe):
            chosen = [m for m in modules if (".processor." in m.name) == (style is _xlabs_probe)]
            probes = [style(module, number) for number, module in enumerate(chosen)]
            spots = self._probed(probes) if probes else {}
            found |= {
                chosen[number].name: [_whole(spot, chosen[number].rows) for spot in there]
                for number, there in spots.items()
                if _is_whole(there, chosen[number].rows)
            }
        return found

    def _probed(self, probes: Sequence[Mapping[str, Tensor]]) -> dict[int, list[Spot]]:
        try:
            return self._spots_of(self._convert({k: v for p in probes for k, v in p.items()}))
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError):
            # One bad name fails them all; one by one shows which are good.
            if len(probes) == 1:
                return {}
        found: dict[int, list[Spot]] = {}
        for probe in probes:
            found |= self._probed([probe])
        return found

    def _convert(self, probes: dict[str, Tensor]) -> Mapping[str, Tensor]:
        options: dict[str, object] = {"return_alphas": True, "return_lora_metadata": True}
        if self._denoiser == "unet":
            options["unet_config"] = self._pipe.unet.config
        converted: Mapping[str, Tensor] = self._pipe.lora_state_dict(probes, **options)[0]
        return converted

    def _spots_of(self, converted: Mapping[str, Tensor]) -> dict[int, list[Spot]]:
        pairs: dict[tuple[str, str], dict[str, Tensor]] = {}
        for tensor, value in converted.items():
            spot = self._direct_tensor(tensor) or self._as_diffusers_did(tensor)
            held = place(_peft_name(self._denoiser or "", tensor))
            if spot and held:
                pairs.setdefault(spot[:2], {})[held.part] = value
        found: dict[int, list[Spot]] = {}
        for (component, path), parts in pairs.items():
            if parts.keys() == {"down", "up"}:
                rows = parts["up"].flatten().round().long()
                number = int(parts["down"].flatten()[0].round()) - 1
                found.setdefault(number, []).append(Spot(component, path, rows))
        return found

    def _direct_tensor(self, tensor: str) -> Spot | None:
        held = place(tensor)
        return self._direct(held.module) if held else None


def _flattened(paths: Iterable[str]) -> dict[str, str]:
    """Paths by their flattened spellings; what two paths share belongs to neither."""
    found: dict[str, str] = {}
    shared = set()
    for path in paths:
        # transformers 5 took the level `text_model` out of CLIP's text encoder.
        for spelled in {path, path.removeprefix("text_model."), f"text_model.{path}"}:
            flat = spelled.replace(".", "_")
            if found.setdefault(flat, path) != path:
                shared.add(flat)
    return {flat: path for flat, path in found.items() if flat not in shared}


def _peft_name(component: str, name: str) -> str:
    names = {name: None}
    if component.startswith("text_encoder"):
        names = convert_state_dict_to_peft(names, original_type=StateDictType.DIFFUSERS_OLD)
        names = convert_state_dict_to_peft(names, original_type=StateDictType.DIFFUSERS)
    else:
        names = convert_unet_state_dict_to_peft(names)
    return str(next(iter(names)))


def _rows(target: sd3_names.Target, rows: int) -> Tensor | None:
    if target.swapped:
        return torch.arange(rows).roll(rows // 2)
    if target.of == 1:
        return None
    size = rows // target.of
    return torch.arange(target.part * size, (target.part + 1) * size)


def _kohya_probe(module: Module, number: int) -> dict[str, Tensor]:
    name = f"lora_unet_{own_name(module.name)}"
    return {
        f"{name}.lora_down.weight": torch.full((1, 1), number + 1.0, dtype=torch.float64),
        f"{name}.lora_up.weight": torch.arange(module.rows, dtype=torch.float64)[:, None],
    }


def _xlabs_probe(module: Module, number: int) -> dict[str, Tensor]:
    return {
        f"{module.name}.down.weight": torch.full((1, 1), number + 1.0, dtype=torch.float64),
        f"{module.name}.up.weight": torch.arange(module.rows, dtype=torch.float64)[:, None],
    }


def _whole(spot: Spot, rows: int) -> Spot:
    """The same, without rows if they are all of the module's in their order."""
    is_all = spot.rows is not None and torch.equal(spot.rows, torch.arange(rows))
    return Spot(spot.component, spot.path) if is_all else spot


def _is_whole(spots: Sequence[Spot], rows: int) -> bool:
    """True if every row of the module went to exactly one place."""
    given = [spot.rows for spot in spots if spot.rows is not None]
    return torch.equal(torch.cat(given).sort().values, torch.arange(rows))
