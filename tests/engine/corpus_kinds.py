"""What adapters do to a weight, by kind: random tensors, and their mathematics in float64.

The reference is written apart from the engine's, element by element where that is clearer.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

#: What is added to a weight (float64) at scale 1.
Reference = Callable[[Tensor], Tensor]
Shape = tuple[int, ...]


class Change(NamedTuple):
    """The tensors of one module by the end of their names, and what they do."""

    tensors: Mapping[str, Tensor]
    reference: Reference


class Dice:
    """Random tensors in one precision."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._dtype = dtype

    def __call__(self, *shape: int) -> Tensor:
        return (torch.randn(shape, generator=self._generator) * 0.1).to(self._dtype)


def _added(delta: Callable[[], Tensor]) -> Reference:
    return lambda weight: delta().view(weight.shape)


def _product(left: Tensor, right: Tensor) -> Tensor:
    return left.double().flatten(1) @ right.double().flatten(1)


def _low_rank(shape: Shape, dice: Dice, rank: int = 2) -> tuple[Tensor, Tensor]:
    return dice(rank, *shape[1:]), dice(shape[0], rank, *(1,) * (len(shape) - 2))


def peft(shape: Shape, dice: Dice) -> Change:
    """PEFT's names, without an alpha."""
    down, up = _low_rank(shape, dice)
    return Change({"lora_A.weight": down, "lora_B.weight": up}, _added(lambda: _product(up, down)))


def diffusers_old(shape: Shape, dice: Dice) -> Change:
    """The names that diffusers used before PEFT."""
    down, up = _low_rank(shape, dice)
    return Change(
        {"lora.down.weight": down, "lora.up.weight": up}, _added(lambda: _product(up, down))
    )


def kohya(shape: Shape, dice: Dice, alpha: float = 1.0) -> Change:
    """Kohya's names with an alpha."""
    down, up = _low_rank(shape, dice)
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(alpha)}
    return Change(tensors, _added(lambda: _product(up, down) * alpha / 2))


def tucker(shape: Shape, dice: Dice) -> Change:
    """LoCon with a middle: out ← rank ← (rank, window) ← in."""
    (out, width, *window), rank = shape, 2
    down, up = dice(rank, width, 1, 1), dice(out, rank, 1, 1)
    mid = dice(rank, rank, *window)

    def delta() -> Tensor:
        total = torch.zeros(shape, dtype=torch.float64)
        for i in range(rank):
            for j in range(rank):
                outer = torch.outer(up[:, i].flatten().double(), down[j].flatten().double())
                total += outer[:, :, None, None] * mid[i, j].double()
        return total * 4 / rank

    tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}
    return Change(tensors | {"alpha": torch.tensor(4.0)}, _added(delta))


def _dora(low_rank: Callable[[], Tensor], magnitude: Tensor, axis: int) -> Reference:
    def change(weight: Tensor) -> Tensor:
        moved = weight + low_rank().view(weight.shape)
        lines = moved.movedim(axis, 0).flatten(1)
        scaled = lines * (magnitude.double().flatten() / lines.pow(2).sum(1).sqrt())[:, None]
        rows = scaled.view(moved.movedim(axis, 0).shape).movedim(0, axis)
        return rows - weight

    return change


def dora_of_peft(shape: Shape, dice: Dice) -> Change:
    """DoRA with PEFT's magnitude, whose shape is turned for convolutions."""
    down, up = _low_rank(shape, dice)
    held = dice(shape[0]).abs() + 1
    told = held.view(1, -1, 1, 1) if len(shape) == 4 else held
    tensors = {"lora_A.weight": down, "lora_B.weight": up, "lora_magnitude_vector": told}
    return Change(tensors, _dora(lambda: _product(up, down), held, 0))


def dora_of_kohya(shape: Shape, dice: Dice, *, of_columns: bool = False) -> Change:
    """DoRA with Kohya's scale, over the rows or, as LyCORIS once did, over the columns."""
    down, up = _low_rank(shape, dice)
    axis = int(of_columns)
    held = dice(shape[axis]).abs() + 1
    told = held.view(*(-1 if dim == axis else 1 for dim in range(len(shape))))
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": told}
    tensors |= {"alpha": torch.tensor(1.0)}
    return Change(tensors, _dora(lambda: _product(up, down) / 2, held, axis))


def dora_of_columns(shape: Shape, dice: Dice) -> Change:
    """The same over the columns."""
    return dora_of_kohya(shape, dice, of_columns=True)


def loha(shape: Shape, dice: Dice) -> Change:
    """LoHa; LyCORIS flattens the window of a convolution."""
    (out, *rest), rank = shape, 3
    parts = {f"hada_w{n}_a": dice(out, rank) for n in (1, 2)}
    parts |= {f"hada_w{n}_b": dice(rank, math.prod(rest)) for n in (1, 2)}

    def delta() -> Tensor:
        one, two = (_product(parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"]) for n in (1, 2))
        return one * two * 2 / rank

    return Change(parts | {"alpha": torch.tensor(2.0)}, _added(delta))


def loha_tucker(shape: Shape, dice: Dice) -> Change:
    """LoHa with a middle in both products."""
    (out, width, *window), rank = shape, 2
    parts: dict[str, Tensor] = {}
    for n in (1, 2):
        left, right, mid = dice(rank, out), dice(rank, width), dice(rank, rank, *window)
        parts |= {f"hada_w{n}_a": left, f"hada_w{n}_b": right, f"hada_t{n}": mid}

    def delta() -> Tensor:
        one, two = (_with_middle(*(parts[f"hada_{x}"] for x in names)) for names in _TUCKER)
        return one * two / rank

    return Change(parts | {"alpha": torch.tensor(1.0)}, _added(delta))


_TUCKER = (("w1_a", "w1_b", "t1"), ("w2_a", "w2_b", "t2"))


def _with_middle(left: Tensor, right: Tensor, mid: Tensor) -> Tensor:
    """(out, in, window) of (rank, out), (rank, in) and (rank, rank, window)."""
    inner = torch.tensordot(mid.double(), right.double(), ([1], [0]))
    whole: Tensor = torch.tensordot(left.double(), inner, ([0], [0]))
    return whole.movedim(-1, 1)


def _halves(shape: Shape) -> tuple[Shape, Shape]:
    return (2, 4), (shape[0] // 2, shape[1] // 4, *shape[2:])


def _kron(one: Tensor, two: Tensor) -> Tensor:
    """Block by block: block (i, j) is one[i, j] · two."""
    rows = [torch.cat([float(value) * two for value in line], dim=1) for line in one]
    return torch.cat(rows, dim=0)


def lokr(shape: Shape, dice: Dice) -> Change:
    """LoKr whose first half is whole and whose second has two factors."""
    first, second = _halves(shape)
    w1, rank = dice(*first), 2
    left, right = dice(second[0], rank), dice(rank, *second[1:])
    tensors = {"lokr_w1": w1, "lokr_w2_a": left, "lokr_w2_b": right, "alpha": torch.tensor(1.0)}
    return Change(tensors, _added(lambda: _kron(w1, _product(left, right).view(second)) / rank))


def lokr_factored(shape: Shape, dice: Dice) -> Change:
    """LoKr whose halves both have two factors."""
    first, second = _halves(shape)
    one, two = (dice(first[0], 2), dice(2, first[1])), (dice(second[0], 2), dice(2, *second[1:]))

    def delta() -> Tensor:
        return _kron(_product(*one), _product(*two).view(second)) * 3 / 2

    tensors = {"lokr_w1_a": one[0], "lokr_w1_b": one[1], "lokr_w2_a": two[0], "lokr_w2_b": two[1]}
    return Change(tensors | {"alpha": torch.tensor(3.0)}, _added(delta))


def lokr_whole(shape: Shape, dice: Dice) -> Change:
    """LoKr of two whole halves: its alpha is written and does not count."""
    first, second = _halves(shape)
    w1, w2 = dice(*first), dice(*second)
    tensors = {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(5.0)}
    return Change(tensors, _added(lambda: _kron(w1, w2.double())))


def lokr_tucker(shape: Shape, dice: Dice) -> Change:
    """LoKr whose second half has a middle."""
    first, second = _halves(shape)
    w1, rank = dice(*first), 2
    left, right, mid = dice(rank, second[0]), dice(rank, second[1]), dice(rank, rank, *second[2:])
    tensors = {"lokr_w1": w1, "lokr_w2_a": left, "lokr_w2_b": right, "lokr_t2": mid}
    tensors |= {"alpha": torch.tensor(2.0)}
    return Change(tensors, _added(lambda: _kron(w1, _with_middle(left, right, mid))))


def full(shape: Shape, dice: Dice) -> Change:
    """A whole difference."""
    diff = dice(*shape)
    return Change({"diff": diff}, _added(lambda: diff.double()))


#: For linear layers and convolutions.
KINDS: Mapping[str, Callable[[Shape, Dice], Change]] = {
    "lora": kohya,
    "dora": dora_of_kohya,
    "dora of columns": dora_of_columns,
    "loha": loha,
    "lokr": lokr,
    "lokr factored": lokr_factored,
    "lokr whole": lokr_whole,
    "full": full,
}
#: For convolutions with a window alone.
WINDOWED: Mapping[str, Callable[[Shape, Dice], Change]] = {
    "tucker": tucker,
    "loha tucker": loha_tucker,
    "lokr tucker": lokr_tucker,
}
