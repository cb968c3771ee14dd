"""Adapters beside a base's weights, through PEFT: for quantised bases, and where memory is short.

Each forward pass computes them anew, so a step takes longer than on the bare base; the base is
never written. Only plain low-rank adapters are served so.
"""

import math
import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.device import is_out_of_memory
from lorajobs.engine.layer import LowRank, Parts, every
from lorajobs.engine.placement import Placement
from lorajobs.engine.rack import Active, Read, applied_lora, content, wanted
from lorajobs.engine.summary import Summary, summary
from lorajobs.errors import LoraNotApplied
from lorajobs.jobs import AppliedLora
from lorajobs.lora_errors import LoraUnsupported

#: Each resident costs memory and, inactive, no time; PEFT's bookkeeping grows with their number.
CAPACITY = 8

#: What a resident adapter multiplies its product with at scale 1: component, module path, factor.
_Strengths = Mapping[str, Mapping[str, float]]


class UnfusedRack:
    """Implements `Rack` with PEFT's layers."""

    placement = Placement.UNFUSED

    def __init__(
        self,
        pipe: DiffusionPipeline,
        components: Iterable[str],
        read: Read,
        capacity: int = CAPACITY,
    ) -> None:
        """Takes a pipeline without adapters, and the names of what they may change."""
        self._pipe = pipe
        self._capacity = capacity
        self._components = tuple(components)
        self._read = read
        self._residents: OrderedDict[str, _Strengths] = OrderedDict()
        self._summaries: dict[str, Summary] = {}
        self._active: Active = ()
        self.applied: tuple[AppliedLora, ...] = ()

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Makes adapters resident; what is active stays so.

        Raises: LoraNotApplied; no adapter is active then.
        """
        active = self._active
        with self._bare_on_error():
            for adapter in adapters:
                self._make_resident(adapter, keep={name for name, _ in active})
            self._set(active)

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """Nothing: PEFT's layers cannot change while a step runs through them."""

    def activate(self, adapters: Sequence[LocalAdapter]) -> tuple[AppliedLora, ...]:
        """Makes exactly these adapters active; nothing is done if they already are.

        Raises: LoraNotApplied; no adapter is active then.
        """
        with self._bare_on_error():
            asked = wanted(adapters)
            if asked != self._active:
                for adapter in adapters:
                    self._make_resident(adapter, keep={name for name, _ in asked})
                self._set(asked)
                self._verify()
        self.applied = tuple(applied_lora(a, self._summaries[content(a)]) for a in adapters)
        return self.applied

    def resident(self) -> Collection[str]:
        """The adapters whose layers are in the modules."""
        return list(self._residents)

    def encoders(self) -> Hashable:
        """The active adapters, whatever they change."""
        return self._active

    def check(self) -> None:
        """Nothing to compare: nothing was written into the base."""

    @contextmanager
    def _bare_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.applied = ()
            self._set(())
            raise

    def _make_resident(self, adapter: LocalAdapter, keep: set[str]) -> None:
        name = content(adapter)
        if name in self._residents:
            self._residents.move_to_end(name)
            return
        parts = _plain(self._read(adapter), adapter.use.adapter.id)
        self._make_room(keep)
        try:
            for component, layers in parts.items():
                _inject(getattr(self._pipe, component), name, layers)
        except Exception as error:
            # Half an adapter may be in the modules now: only a bare pipeline is known to be exact.
            self._unload_all()
            if is_out_of_memory(error):
                raise
            raise LoraNotApplied(f"{adapter.use.adapter.id}: {error}") from error
        self._summaries[name] = summary(every(parts))
        self._residents[name] = {
            component: {path: layer.strength for path, layer in layers.items()}
            for component, layers in parts.items()
        }

    def _make_room(self, keep: set[str]) -> None:
        for name in list(self._residents):
            if len(self._residents) < self._capacity:
                return
            if name in keep:
                continue
            with _quiet():
                self._pipe.delete_adapters(name)
            del self._summaries[name]
            for component in self._residents.pop(name):
                # diffusers leaves the entry of a text encoder behind.
                getattr(getattr(self._pipe, component), "peft_config", {}).pop(name, None)

    def _unload_all(self) -> None:
        self._pipe.unload_lora_weights()
        self._residents.clear()
        self._summaries.clear()
        self._active = ()

    def _set(self, active: Active) -> None:
        if active:
            self._pipe.enable_lora()
            self._pipe.set_adapters([name for name, _ in active], [scale for _, scale in active])
        elif self._residents:
            self._pipe.disable_lora()
        self._active = active

    def _verify(self) -> None:
        """Walks every adapted module, since what a library reports and what it does may differ."""
        present = self._pipe.get_list_adapters()
        order = [name for name, _ in self._active]
        for component in self._components:
            missing = [n for n in order if component in self._residents[n]]
            missing = [n for n in missing if n not in present.get(component, ())]
            if missing:
                raise LoraNotApplied(f"{component} does not list the adapter {missing[0]}")
            for path, module in _adapted(getattr(self._pipe, component)):
                expected = {
                    name: scale * strengths[path]
                    for name, scale in self._active
                    if path in (strengths := self._residents[name].get(component, {}))
                }
                if not _adds(module, order, expected):
                    raise LoraNotApplied(f"{component}.{path} does not add what was asked for")


def _plain(parts: Parts, called: str) -> Mapping[str, Mapping[str, LowRank]]:
    plain: dict[str, dict[str, LowRank]] = {}
    for component, layers in parts.items():
        for path, layer in layers.items():
            if not isinstance(layer, LowRank):
                kind = type(layer).__name__
                raise LoraUnsupported(
                    f"{called}: {component}.{path} is of the kind {kind}, which needs a base whose "
                    "weights can be changed in place; this one is served unfused"
                )
            plain.setdefault(component, {})[path] = layer
    return plain


def _inject(component: torch.nn.Module, name: str, layers: Mapping[str, LowRank]) -> None:
    """Puts the layers next to the component's modules, and compares what is there with them."""
    to = next(component.parameters())
    layers = {path: layer.with_tensors(lambda x: x.to(to)) for path, layer in layers.items()}
    state = {}
    for path, layer in layers.items():
        state[f"{path}.lora_A.weight"] = layer.down
        state[f"{path}.lora_B.weight"] = layer.up
    with _quiet():
        options = {"adapter_name": name, "low_cpu_mem_usage": True}
        inject_adapter_in_model(_peft_config(layers), component, state_dict=state, **options)
        set_peft_model_state_dict(component, state, **options)
    adapted = {path: m for path, m in _adapted(component) if name in m.lora_A}
    if adapted.keys() != layers.keys():
        strange = sorted(adapted.keys() ^ layers.keys())
        raise LoraNotApplied(f"PEFT adapted other modules than asked for: {strange[:5]}")
    for path, layer in layers.items():
        module = adapted[path]
        there = module.lora_A[name].weight, module.lora_B[name].weight
        if not (torch.equal(there[0], layer.down) and torch.equal(there[1], layer.up)):
            raise LoraNotApplied(f"PEFT did not take the weights of {path}")


def _peft_config(layers: Mapping[str, LowRank]) -> LoraConfig:
    ranks = {path: layer.rank for path, layer in layers.items()}
    alphas = {path: layer.strength * layer.rank for path, layer in layers.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        rank_pattern={f"^{re.escape(p)}": r for p, r in ranks.items() if r != rank},
        alpha_pattern={f"^{re.escape(p)}": a for p, a in alphas.items() if a != alpha},
        target_modules=list(layers),
        inference_mode=True,
    )


def _adapted(component: torch.nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((p, m) for p, m in component.named_modules() if isinstance(m, LoraLayer))


def _adds(module: LoraLayer, order: Sequence[str], expected: Mapping[str, float]) -> bool:
    """True if exactly the expected adapters, at their scales, take part in the module's output."""
    if not order:
        return bool(module.disable_adapters)
    taking_part = [name for name in module.active_adapters if name in module.lora_A]
    return (
        not (module.disable_adapters or module.merged)
        and taking_part == [name for name in order if name in expected]
        and all(math.isclose(module.scaling[name], s) for name, s in expected.items())
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PEFT's warnings that a second adapter, or the deletion of an active one, brings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"peft\.tuners\.tuners_utils")
        yield
