"""Reads an adapter for one pipeline and accounts for every tensor in its file.

diffusers loads what it recognises and drops the rest, often without a word: it takes an SD3 file
on SDXL with no effect at all, and of a file that mixes PEFT's names with its own only the part
whose names come first. Here the names are resolved one by one, and whatever is left refuses the
whole adapter.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from lorajobs.adapters.anatomy import anatomy, listed, require
from lorajobs.adapters.family import of_pipeline
from lorajobs.adapters.header import Header
from lorajobs.adapters.keys import Inventory
from lorajobs.engine import lora_file, lora_layers, products
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.layer import Dora, Full, Hadamard, Kronecker, Layer, LowRank, Parts, every
from lorajobs.engine.lora_config import LoraConfig, from_folder, from_header
from lorajobs.engine.lora_names import Module, Names, Spot, Targets
from lorajobs.engine.products import Product, Products
from lorajobs.errors import LoraRefused
from lorajobs.lora_errors import (
    LoraNoEffect,
    LoraNotFinite,
    LoraShapeMismatch,
    LoraUnknownKeys,
    LoraUnsupported,
)

log = logging.getLogger(__name__)


class Reader:
    """Reads adapters for one bare pipeline; its weights may lie anywhere, even on `meta`."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        """Looks at the pipeline's modules once."""
        self.targets = _targets(pipe)
        self._names = Names(pipe, self.targets)
        unet = getattr(pipe, "unet", None)
        width = unet.config.cross_attention_dim if unet is not None else None
        #: the family of the base, None if it is of none that is known
        self.family = of_pipeline(type(pipe).__name__, width)

    def read(self, adapter: LocalAdapter) -> Parts:
        """Reads an adapter's file into layers, on the CPU and in the file's precision.

        Raises: LoraRefused, naming the adapter and up to five tensors, unless every one of them has
        its place, fits its module and is finite.
        """
        try:
            return self._read(adapter)
        except LoraRefused as error:
            raise type(error)(f"{adapter.use.adapter.id}: {error.detail}") from error

    def _read(self, adapter: LocalAdapter) -> Parts:
        header = lora_file.header(adapter.path)
        inventory = self._inventory(header)
        file = lora_file.load(adapter.path, header)
        lora_file.require_finite(file)
        config = _Config(adapter.use.adapter.peft_config, file.metadata)
        parts: dict[str, dict[str, Layer]] = {}
        for spot, layer in self._placed(inventory, file.tensors, config):
            parts.setdefault(spot.component, {})[spot.path] = layer
        _require_effect(parts)
        _tell(adapter, inventory)
        return parts

    def products(self, adapter: LocalAdapter) -> Products | None:
        """What a file does, if its header, alphas and extras tell: the factors are not read.

        None if any layer is more than a plain product for one whole weight, and for all that `read`
        refuses except for the factors' values.
        """
        try:
            return self._products(adapter)
        except LoraRefused:
            return None

    def _products(self, adapter: LocalAdapter) -> Products | None:
        header = lora_file.header(adapter.path)
        inventory = self._inventory(header)
        pairs = products.pairs(inventory, header)
        held = products.held(adapter.path, header, inventory)
        if pairs is None or held is None:
            return None
        alphas = products.alphas(inventory, header, held)
        lora_file.require_finite(lora_file.load(adapter.path, header, inventory.extras))
        spots = self._spots(inventory, {module: up.shape[0] for module, (_, up) in pairs.items()})
        config = _Config(adapter.use.adapter.peft_config, header.metadata)
        factors = []
        for module, (down, up) in pairs.items():
            spot = spots[module][0]
            alpha = alphas.get(module)
            strong = lora_layers.strength(alpha, down.shape[0], config.strength(spot))
            product = Product(spot.component, spot.path, down, up, *strong)
            if spot.rows is not None or not product.fits(self.targets[spot.component][spot.path]):
                return None
            factors.append(product)
        if any(config.of(component).use_dora for component in {each.component for each in factors}):
            return None
        _tell(adapter, inventory)
        return Products(header, factors, held)

    def _inventory(self, header: Header) -> Inventory:
        found = anatomy(header)
        require(found, self.family)
        return found.inventory

    def _placed(
        self, inventory: Inventory, tensors: Mapping[str, Tensor], config: "_Config"
    ) -> Iterator[tuple[Spot, Layer]]:
        held = {
            module: {part: tensors[name] for part, name in names.items()}
            for module, names in inventory.modules.items()
        }
        spots = self._spots(inventory, {name: lora_layers.rows(it) for name, it in held.items()})
        for module, parts in held.items():
            yield from self._split(module, parts, spots[module], config)

    def _spots(self, inventory: Inventory, rows: Mapping[str, int]) -> Mapping[str, Sequence[Spot]]:
        spots = self._names.spots(
            Module(module, next(iter(names.values())), rows[module])
            for module, names in inventory.modules.items()
        )
        self._require_all(inventory, spots)
        return spots

    def _split(
        self,
        module: str,
        parts: Mapping[str, Tensor],
        spots: Sequence[Spot],
        config: "_Config",
    ) -> Iterator[tuple[Spot, Layer]]:
        """The layer of one module of the file, cut into the weights that it stands for."""
        first = spots[0]
        weight = self.targets[first.component][first.path]
        try:
            whole = lora_layers.build(parts, weight, config.strength(first))
            if config.of(first.component).use_dora and not isinstance(whole, Dora):
                raise LoraUnsupported("its configuration says DoRA, but it has no magnitude")
            for spot in spots:
                layer = whole if spot.rows is None else whole.rows(spot.rows)
                expected = self.targets[spot.component][spot.path]
                if layer.shape != expected:
                    raise LoraShapeMismatch(
                        f"it changes a weight of shape {layer.shape}; "
                        f"{spot.component}.{spot.path} has {expected}"
                    )
                yield spot, layer
        except (LoraShapeMismatch, LoraNotFinite, LoraUnsupported) as error:
            raise type(error)(f"{module}: {error.detail}") from error
        except ValueError as error:
            raise LoraUnsupported(f"{module}: {error}") from error

    def _require_all(self, inventory: Inventory, spots: Mapping[str, Sequence[Spot]]) -> None:
        strange = inventory.modules.keys() - spots.keys()
        taken: dict[tuple[str, str], str] = {}
        doubled = [
            f"{module} beside {owner}"
            for module, there in spots.items()
            for component, path, _ in there
            if (owner := taken.setdefault((component, path), module)) != module
        ]
        of = len(inventory.modules)
        base = self.family or "this base"
        if strange:
            raise LoraUnknownKeys(
                f"{len(strange)} of its {of} modules fit no module of {base}: "
                + listed(module for module in inventory.modules if module in strange)
            )
        if doubled:
            raise LoraUnknownKeys(f"it changes the same weights twice: {listed(doubled)}")


class _Config:
    """What a PEFT folder or a header says, by component."""

    def __init__(self, folder: Mapping[str, object] | None, metadata: Mapping[str, str]) -> None:
        self._folder = from_folder(folder) if folder else None
        self._metadata = metadata
        self._known: dict[str, LoraConfig] = {}

    def of(self, component: str) -> LoraConfig:
        if self._folder:
            return self._folder
        if component not in self._known:
            self._known[component] = from_header(self._metadata, component)
        return self._known[component]

    def strength(self, spot: Spot) -> lora_layers.Strength:
        """What it gives the layer of one weight."""
        return partial(self.of(spot.component).strength, spot.path)


def _targets(pipe: DiffusionPipeline) -> Targets:
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


def _tell(adapter: LocalAdapter, inventory: Inventory) -> None:
    if inventory.extras:
        log.info("%s: left out, harmless: %s", adapter.use.adapter.id, listed(inventory.extras))


def _require_effect(parts: Parts) -> None:
    if not any(_acts(layer) for layer in every(parts)):
        raise LoraNoEffect("all its weights are zero, so it cannot change anything")


def _acts(layer: Layer) -> bool:
    """False if it surely adds nothing."""
    if isinstance(layer, Dora):
        return True
    factors: tuple[Tensor | None, ...] = ()
    if isinstance(layer, LowRank):
        factors = layer.down, layer.up
    elif isinstance(layer, Hadamard):
        factors = layer.a1, layer.b1, layer.a2, layer.b2
    elif isinstance(layer, Kronecker):
        factors = layer.w1, layer.w1_right, layer.w2, layer.w2_right
    elif isinstance(layer, Full):
        factors = (layer.diff,)
    return layer.strength != 0 and all(bool(x.any()) for x in factors if x is not None)
