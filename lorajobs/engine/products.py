"""Adapters of which the header alone tells what they do: plain products of two tensors."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lorajobs.adapters.header import Header, Tensor, scalar
from lorajobs.adapters.keys import Inventory
from lorajobs.engine import lora_file
from lorajobs.lora_errors import LoraShapeMismatch

#: What is no factor, bytes: 20,000 alphas are 80,000.
_MOST_ASIDE = 1 << 18
_PARTS = {frozenset({"down", "up"}), frozenset({"down", "up", "alpha"})}
#: Precisions that are read as they are.
_KINDS = ("F16", "BF16", "F32")


class Product(NamedTuple):
    """The product that one weight changes by, as a header declares its factors."""

    component: str
    path: str
    down: Tensor
    up: Tensor
    strength: float
    alpha_assumed: bool

    @property
    def rank(self) -> int:
        """The inner size."""
        return self.down.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """That of both factors."""
        return lora_file.DTYPES[self.down.dtype]

    def fits(self, weight: tuple[int, ...]) -> bool:
        """True if it is of the weight's shape."""
        rank, *rest = self.down.shape
        ones = (1,) * (len(rest) - 1)
        return (
            rank > 0 and (self.up.shape[0], *rest) == weight and self.up.shape[1:] == (rank, *ones)
        )


class Products(NamedTuple):
    """A whole file."""

    header: Header
    factors: Sequence[Product]
    #: what is no factor, by name
    others: Mapping[str, bytes]


def pairs(inventory: Inventory, header: Header) -> Mapping[str, tuple[Tensor, Tensor]] | None:
    """The factors (down, up) of each module; None if some are not, or not read as they are."""
    modules, tensors = inventory.modules, header.tensors
    if not {frozenset(parts) for parts in modules.values()} <= _PARTS:
        return None
    found = {name: (tensors[it["down"]], tensors[it["up"]]) for name, it in modules.items()}
    is_read = all(
        down.dtype == up.dtype and down.dtype in _KINDS and len(down.shape) == len(up.shape) > 1
        for down, up in found.values()
    )
    return found if is_read else None


def held(path: Path, header: Header, inventory: Inventory) -> Mapping[str, bytes] | None:
    """The bytes of all tensors that are no factors: extras and alphas; None if they are many."""
    names = [parts["alpha"] for parts in inventory.modules.values() if "alpha" in parts]
    spans = {name: header.tensors[name].span for name in (*inventory.extras, *names)}
    if sum(end - begin for begin, end in spans.values()) > _MOST_ASIDE:
        return None
    with path.open("rb") as file:
        number, start = file.fileno(), header.start
        return {
            n: os.pread(number, end - begin, start + begin) for n, (begin, end) in spans.items()
        }


def alphas(inventory: Inventory, header: Header, held: Mapping[str, bytes]) -> Mapping[str, float]:
    """The alpha of each module that has one.

    Raises: LoraShapeMismatch for what is not one number of a precision that is read as it is.
    """
    found = {}
    for module, parts in inventory.modules.items():
        if name := parts.get("alpha"):
            tensor = header.tensors[name]
            value = scalar(tensor, held[name])
            if value is None or tensor.dtype not in (*_KINDS, "I64", "I32"):
                raise LoraShapeMismatch(f"{name} is not one number")
            found[module] = value
    return found
