"""The adapters inside a pipeline: which are resident, which are active, and the proof of it."""

import hashlib
import json
import math
import re
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from lorajobs.engine import lora_weights
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.device import is_out_of_memory
from lorajobs.engine.lora_weights import Layer
from lorajobs.errors import LoraNotApplied
from lorajobs.jobs import AppliedLora

#: Each resident costs memory and, inactive, no time; PEFT's bookkeeping grows with their number.
CAPACITY = 8

#: What a resident adapter multiplies its product with at scale 1: component, module path, factor.
_Strengths = Mapping[str, Mapping[str, float]]
#: Adapter names and their scales, in the order in which they are added up.
_Active = tuple[tuple[str, float], ...]


class AdapterRack:
    """Holds adapters inside one pipeline, unfused, so that without any of them the base is exact.

    They are added up in the order of their content, whatever order they were asked for in.
    """

    def __init__(self, pipe: DiffusionPipeline, capacity: int = CAPACITY) -> None:
        """Takes a pipeline without adapters."""
        self._pipe = pipe
        self._capacity = capacity
        self._targets = lora_weights.targets(pipe)
        self._residents: OrderedDict[str, _Strengths] = OrderedDict()
        self._active: _Active = ()
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

    def activate(self, adapters: Sequence[LocalAdapter]) -> tuple[AppliedLora, ...]:
        """Makes exactly these adapters active; nothing is done if they already are.

        Raises: LoraNotApplied; no adapter is active then.
        """
        with self._bare_on_error():
            wanted = _wanted(adapters)
            if wanted != self._active:
                for adapter in adapters:
                    self._make_resident(adapter, keep={name for name, _ in wanted})
                self._set(wanted)
                self._verify()
        self.applied = tuple(_applied(adapter) for adapter in adapters)
        return self.applied

    @contextmanager
    def _bare_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.applied = ()
            self._set(())
            raise

    def _make_resident(self, adapter: LocalAdapter, keep: set[str]) -> None:
        name = _name(adapter)
        if name in self._residents:
            self._residents.move_to_end(name)
            return
        try:
            parts = lora_weights.read(adapter, self._pipe, self._targets)
        except LoraNotApplied as error:
            raise LoraNotApplied(f"{adapter.use.adapter.id}: {error.detail}") from error
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
        self._residents[name] = {
            component: {path: layer.alpha / layer.rank for path, layer in layers.items()}
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
            for component in self._residents.pop(name):
                # diffusers leaves the entry of a text encoder behind.
                getattr(getattr(self._pipe, component), "peft_config", {}).pop(name, None)

    def _unload_all(self) -> None:
        self._pipe.unload_lora_weights()
        self._residents.clear()
        self._active = ()

    def _set(self, active: _Active) -> None:
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
        for component in self._targets:
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


def _wanted(adapters: Sequence[LocalAdapter]) -> _Active:
    wanted = sorted((_name(adapter), adapter.use.scale) for adapter in adapters)
    doubled = [name for name, n in Counter(name for name, _ in wanted).items() if n > 1]
    for adapter in adapters:
        if _name(adapter) in doubled:
            raise LoraNotApplied(f"{adapter.use.adapter.id} is asked for twice; give one scale")
    return tuple(wanted)


def _name(adapter: LocalAdapter) -> str:
    """Names an adapter by its content: the same weights under another configuration are another."""
    pinned = adapter.use.adapter
    if pinned.peft_config is None:
        return pinned.sha256
    told = json.dumps([pinned.sha256, pinned.peft_config], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _applied(adapter: LocalAdapter) -> AppliedLora:
    pinned, scale = adapter.use.adapter, adapter.use.scale
    return AppliedLora(id=pinned.id, revision=pinned.revision, sha256=pinned.sha256, scale=scale)


def _inject(component: torch.nn.Module, name: str, layers: Mapping[str, Layer]) -> None:
    """Puts the layers next to the component's modules, and compares what is there with them."""
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


def _peft_config(layers: Mapping[str, Layer]) -> LoraConfig:
    ranks = {path: layer.rank for path, layer in layers.items()}
    alphas = {path: layer.alpha for path, layer in layers.items()}
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
