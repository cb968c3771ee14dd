"""What an adapter does to one module's weight, in each of the formats that adapters come in.

Every layer answers `delta_from`; those whose answer does not depend on the base's weight are
`Additive` and answer `delta` too. The mathematics is done in float32 whatever the file's precision.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer(ABC):
    """One module's change, with tensors as the file holds them: on the CPU, in its precision."""

    #: what the product is multiplied with at scale 1: alpha / rank, alpha / √rank for rslora
    strength: float = 1.0
    #: True if no alpha is known, so that it was taken to equal the rank
    alpha_assumed: bool = False

    @property
    @abstractmethod
    def rank(self) -> int:
        """The inner size of its products, the largest if there are several; 0 if there is none."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight that it changes: (out, in) or (out, in, height, width)."""

    @abstractmethod
    def delta_from(self, weight: Tensor, scale: float) -> Tensor:
        """What it adds to the base's pristine weight at this scale, its strength included.

        `weight` is float32, of `shape` and on the layer's device; so is the result.
        """

    @abstractmethod
    def rows(self, index: Tensor) -> Self:
        """The same layer for the given rows of the weight only: q, k and v out of one qkv."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Every tensor it holds, in the order of its fields."""
        held = (getattr(self, field.name) for field in fields(self))
        return tuple(
            tensor
            for value in held
            for tensor in (value.tensors() if isinstance(value, Layer) else (value,))
            if isinstance(tensor, Tensor)
        )

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same layer with each of `tensors()` replaced, as by a move to a device."""
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Layer):
                changed[field.name] = value.with_tensors(change)
        return replace(self, **changed)  # type: ignore[arg-type]


class Additive(Layer):
    """A layer whose change is the same whatever the base's weight is."""

    @abstractmethod
    def delta(self) -> Tensor:
        """What it adds at scale 1, its strength included; float32, of `shape`."""

    def delta_from(self, weight: Tensor, scale: float) -> Tensor:
        """`scale · delta()`."""
        return self.delta().mul_(scale)


@dataclass(frozen=True, eq=False, kw_only=True)
class LowRank(Additive):
    """LoRA and LoCon: `strength · up · down`."""

    #: (rank, in) or (rank, in, height, width)
    down: Tensor
    #: (out, rank) or (out, rank, 1, 1)
    up: Tensor

    @property
    def rank(self) -> int:
        """The inner size of the product."""
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """(out, in, …)."""
        return (self.up.shape[0], *self.down.shape[1:])

    def delta(self) -> Tensor:
        """`strength · up · down`."""
        return (_flat(self.up) @ _flat(self.down)).mul_(self.strength).view(self.shape)

    def rows(self, index: Tensor) -> Self:
        """The rows of `up`."""
        return replace(self, up=self.up[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Hadamard(Additive):
    """LoHa: `strength · (a1 · b1) ∘ (a2 · b2)`."""

    #: (out, rank) each
    a1: Tensor
    a2: Tensor
    #: (rank, in) or (rank, in, height, width) each
    b1: Tensor
    b2: Tensor

    @property
    def rank(self) -> int:
        """The larger inner size of its two products."""
        return max(self.b1.shape[0], self.b2.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """(out, in, …)."""
        return (self.a1.shape[0], *self.b1.shape[1:])

    def delta(self) -> Tensor:
        """Both products, multiplied element by element."""
        first = _flat(self.a1) @ _flat(self.b1)
        return first.mul_(_flat(self.a2) @ _flat(self.b2)).mul_(self.strength).view(self.shape)

    def rows(self, index: Tensor) -> Self:
        """The rows of both left factors."""
        return replace(self, a1=self.a1[index], a2=self.a2[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Kronecker(Additive):
    """LoKr: `strength · w1 ⊗ w2`, either of which may be the product of two factors."""

    #: (out1, in1), or the left factor (out1, rank)
    w1: Tensor
    #: (out2, in2, …), or the left factor (out2, rank)
    w2: Tensor
    #: the right factors (rank, in1) and (rank, in2, …); None: w1 or w2 is the whole
    w1_right: Tensor | None = None
    w2_right: Tensor | None = None
    #: of the rows of the product; None: all
    chosen: Tensor | None = None

    @property
    def rank(self) -> int:
        """The larger inner size of its factored halves; 0 if both are whole."""
        return max(x.shape[0] if x is not None else 0 for x in (self.w1_right, self.w2_right))

    @property
    def shape(self) -> tuple[int, ...]:
        """(out1 · out2, in1 · in2, …)."""
        outs, ins = self.w1.shape[0] * self.w2.shape[0], _wide(self.w1, self.w1_right)
        width, *window = _ins(self.w2, self.w2_right)
        return (outs if self.chosen is None else len(self.chosen), ins * width, *window)

    def delta(self) -> Tensor:
        """The Kronecker product of both halves."""
        one, two = _whole(self.w1, self.w1_right), _whole(self.w2, self.w2_right)
        one = one.view(*one.shape, *(1,) * (two.ndim - 2))
        product = torch.kron(one, two).mul_(self.strength)
        return product if self.chosen is None else product[self.chosen]

    def rows(self, index: Tensor) -> Self:
        """Rows of the product, which has no factor for them."""
        return replace(self, chosen=index if self.chosen is None else self.chosen[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Full(Additive):
    """A whole difference of two weights; it has neither rank nor alpha."""

    #: of the weight's shape
    diff: Tensor

    @property
    def rank(self) -> int:
        """It has none."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's."""
        return tuple(self.diff.shape)

    def delta(self) -> Tensor:
        """`strength · diff`."""
        return self.diff.float() * self.strength

    def rows(self, index: Tensor) -> Self:
        """The rows of the difference."""
        return replace(self, diff=self.diff[index])


@dataclass(frozen=True, eq=False, kw_only=True)
class Dora(Layer):
    """DoRA: `magnitude · (W0 + scale · direction) / ‖W0 + scale · direction‖`, less W0.

    PEFT's definition, so its change does not vanish with the scale. Several are added, each made
    from W0. The strength is the direction's.
    """

    direction: Additive
    #: (out, 1, …): of the weight's rows; (1, in, 1, …): of its columns, as LyCORIS once did
    magnitude: Tensor

    @property
    def rank(self) -> int:
        """The direction's."""
        return self.direction.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """The direction's."""
        return self.direction.shape

    def delta_from(self, weight: Tensor, scale: float) -> Tensor:
        """The rescaled sum less the weight."""
        moved = self.direction.delta().mul_(scale).add_(weight)
        axis = 0 if self.magnitude.shape[0] == weight.shape[0] else 1
        others = [dim for dim in range(weight.ndim) if dim != axis]
        norm = torch.linalg.vector_norm(moved, dim=others, keepdim=True)
        return moved.mul_(self.magnitude.float() / norm).sub_(weight)

    def rows(self, index: Tensor) -> Self:
        """Rows of the direction and of the magnitude.

        Raises: ValueError if the magnitude is of columns, whose norm needs every row.
        """
        if self.magnitude.shape[0] == 1:
            raise ValueError("a DoRA over columns cannot be split by rows")
        return replace(self, direction=self.direction.rows(index), magnitude=self.magnitude[index])


#: What an adapter does to a pipeline: component, module path, layer.
Parts = Mapping[str, Mapping[str, Layer]]


def every(parts: Parts) -> list[Layer]:
    """All layers of an adapter."""
    return [layer for part in parts.values() for layer in part.values()]


def _flat(factor: Tensor) -> Tensor:
    return factor.float().flatten(1)


def _whole(left: Tensor, right: Tensor | None) -> Tensor:
    if right is None:
        return left.float()
    return (_flat(left) @ _flat(right)).view(left.shape[0], *right.shape[1:])


def _ins(left: Tensor, right: Tensor | None) -> tuple[int, ...]:
    return tuple((left if right is None else right).shape[1:])


def _wide(left: Tensor, right: Tensor | None) -> int:
    return _ins(left, right)[0]
