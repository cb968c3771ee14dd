"""Where a base keeps the weights that adapters change: stacked by shape, beside a pristine twin.

The weights of one component with one shape and precision are one tensor, and each module's weight
is a view of it. Nothing moves afterwards, so compiled code and CUDA graphs stay valid whatever
adapters come and go.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Indices into the stack of a group, ascending.
Slots = NDArray[np.int64]
#: Precisions whose sums in float32 are rounded once when they are written.
FUSABLE = (torch.float32, torch.float16, torch.bfloat16)


Weighted = torch.nn.Linear | torch.nn.Conv2d


class Slot(NamedTuple):
    """A weight's place: the number of its group and its place in the stack."""

    group: int
    at: int


@dataclass(frozen=True, eq=False)
class Group:
    """All weights of one component that have one shape and one precision."""

    component: str
    #: of one weight: (out, in) or (out, in, height, width)
    shape: tuple[int, ...]
    paths: tuple[str, ...]
    #: (number, out, in · height · width); the modules' weights are views of it
    live: Tensor
    #: the same weights as they were loaded, never written; on the same device or in pinned memory
    pristine: Tensor

    @property
    def is_twin_near(self) -> bool:
        """True if the pristine weights lie in the memory that the base computes in."""
        return self.live.device == self.pristine.device

    def restore(self, slots: Slots) -> None:
        """Makes these weights pristine, to the bit; on a GPU the copies are enqueued."""
        for run in runs(slots):
            self.live[run].copy_(self.pristine[run], non_blocking=True)


class Stack(NamedTuple):
    """Weights of one component, one shape and one precision, before they are moved together."""

    component: str
    #: by path, in the order of their slots
    modules: Mapping[str, Weighted]

    @property
    def like(self) -> Tensor:
        """One of the weights."""
        return next(iter(self.modules.values())).weight

    @property
    def shape(self) -> tuple[int, ...]:
        """(number, out, in) or (number, out, in, height, width)."""
        return (len(self.modules), *self.like.shape)

    @property
    def nbytes(self) -> int:
        """What all of them take."""
        return len(self.modules) * self.like.nbytes

    def onto(self, place: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The slots in a tensor of this shape, each with the weight that belongs there."""
        for slot, module in zip(place, self.modules.values(), strict=True):
            yield slot, module.weight.detach()

    def move(self, live: Tensor, pristine: Tensor) -> Group:
        """Makes the modules' weights views of `live`; both have this shape, and hold W0 by then."""
        for slot, module in zip(live, self.modules.values(), strict=True):
            # The module keeps its Parameter; only the memory under it is another.
            module.weight.data = slot
        paths = tuple(self.modules)
        return Group(self.component, live.shape[1:], paths, live.flatten(2), pristine.flatten(2))


class Arena:
    """All groups of a pipeline, the largest first, and the place of each module's weight."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.places: Mapping[tuple[str, str], Slot] = {
            (group.component, path): Slot(number, index)
            for number, group in enumerate(groups)
            for index, path in enumerate(group.paths)
        }

    @classmethod
    def of(cls, components: Mapping[str, torch.nn.Module], *, twin_on_host: bool) -> "Arena":
        """Moves the components' linear and convolution weights into stacks with pristine twins.

        `twin_on_host` puts the twins of a GPU's weights into pinned host memory.
        """
        return cls([_group(stack, twin_on_host) for stack in stacks(components)])


def stacks(components: Mapping[str, torch.nn.Module]) -> Sequence[Stack]:
    """What an arena of these components is made of, the largest first."""
    found: dict[tuple[str, torch.Size, torch.dtype], dict[str, Weighted]] = {}
    for component, path, module in fusable_modules(components):
        key = component, module.weight.shape, module.weight.dtype
        found.setdefault(key, {})[path] = module
    made = [Stack(key[0], _sorted(modules)) for key, modules in found.items()]
    return sorted(made, key=lambda stack: -stack.nbytes)


def fusable_modules(
    components: Mapping[str, torch.nn.Module],
) -> Iterator[tuple[str, str, Weighted]]:
    """Component, path and module of every weight that only one module uses.

    Of a weight that two modules share neither could be changed alone, so neither is here.
    """
    for component, model in components.items():
        modules = {
            path: module
            for path, module in model.named_modules(remove_duplicate=False)
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        }
        users = Counter(_memory(module) for module in modules.values())
        for path, module in modules.items():
            if users[_memory(module)] == 1:
                yield component, path, module


def why_not_fusable(components: Mapping[str, torch.nn.Module]) -> str | None:
    """Why these components' weights cannot be changed in place; None if they can."""
    for component, model in components.items():
        if getattr(model, "hf_quantizer", None) or getattr(model, "is_quantized", False):
            return f"{component} is quantised"
        for path, module in model.named_modules():
            if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                continue
            if type(module.weight) is not torch.nn.Parameter or module.weight.dtype not in FUSABLE:
                return f"{component}.{path} has weights of the kind {module.weight.dtype}"
    return None


def twin_bytes(components: Mapping[str, torch.nn.Module]) -> int:
    """The size of the pristine twins."""
    return sum(module.weight.nbytes for _, _, module in fusable_modules(components))


def runs(slots: Slots) -> Iterator[slice]:
    """The slots as slices, each of neighbours."""
    if len(slots):
        for run in np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1):
            yield slice(int(run[0]), int(run[-1]) + 1)


def span(indices: NDArray[np.integer]) -> slice | Tensor:
    """Indices of neighbours as a slice, which copies nothing, others as a tensor."""
    if len(indices) and indices[-1] - indices[0] == len(indices) - 1:
        return slice(int(indices[0]), int(indices[-1]) + 1)
    return torch.from_numpy(indices.astype(np.int64))


def _memory(module: Weighted) -> int:
    # Weights that take no memory, as on `meta`, all lie at 0.
    return module.weight.data_ptr() or id(module.weight)


def _sorted(modules: Mapping[str, Weighted]) -> dict[str, Weighted]:
    """By the ends of their paths, which is how adapters choose: so they touch whole runs."""

    def kind(path: str) -> tuple[Sequence[str], str]:
        return [name for name in reversed(path.split(".")) if not name.isdigit()], path

    return {path: modules[path] for path in sorted(modules, key=kind)}


def _group(stack: Stack, twin_on_host: bool) -> Group:
    like = stack.like
    live = torch.empty(stack.shape, dtype=like.dtype, device=like.device)
    for slot, weight in stack.onto(live):
        slot.copy_(weight)
    pinned = twin_on_host and like.device.type == "cuda"
    pristine = torch.empty(
        live.shape,
        dtype=live.dtype,
        device="cpu" if pinned else live.device,
        pin_memory=pinned,
    ).copy_(live)
    return stack.move(live, pristine)
