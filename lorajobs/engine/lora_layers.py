"""Builds a layer of the tensors that a file holds for one module, whatever its format is."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lorajobs.engine.layer import Additive, Dora, Full, Hadamard, Kronecker, Layer, LowRank
from lorajobs.lora_errors import LoraNotFinite, LoraShapeMismatch, LoraUnsupported

Shape = tuple[int, ...]

#: The strength that a configuration gives a layer of this rank; None if it gives none.
Strength = Callable[[int], float | None]


def rows(parts: Mapping[str, Tensor]) -> int:
    """How many rows of a weight the parts change; 0 if that cannot be told.

    The parts are those of one module, as `lorajobs.adapters.keys.place` calls them.
    """
    for part in ("up", "diff"):
        if part in parts and parts[part].ndim:
            return parts[part].shape[0]
    if "hada_w1_a" in parts:
        return parts["hada_w1_a"].shape[-1 if "hada_t1" in parts else 0]
    halves = [parts.get(f"lokr_w{n}", parts.get(f"lokr_w{n}_a")) for n in (1, 2)]
    if any(half is None or not half.ndim for half in halves):
        return 0
    one, two = (half for half in halves if half is not None)
    return one.shape[0] * two.shape[-1 if "lokr_t2" in parts else 0]


def build(parts: Mapping[str, Tensor], weight: Shape, configured: Strength) -> Layer:
    """The layer of one module, before it is split; `weight` is the shape of one it changes.

    A file's own alpha counts more than the configuration's. Raises: LoraShapeMismatch if the parts
    do not fit each other, LoraNotFinite for an alpha that is no number, LoraUnsupported for
    integers.
    """
    whole = [part for part, held in parts.items() if not held.is_floating_point()]
    if whole not in ([], ["alpha"]):
        raise LoraUnsupported(f"its {whole[0]} holds integers")
    try:
        made, rank = _additive(parts, weight)
    except (RuntimeError, IndexError) as error:
        shapes = {part: tuple(tensor.shape) for part, tensor in parts.items()}
        raise LoraShapeMismatch(f"its parts do not fit each other: {shapes}") from error
    made = _replaced(made, *_strength(parts, rank, configured))
    magnitude = _magnitude(parts, made.shape)
    if magnitude is None:
        return made
    return Dora(
        direction=made,
        magnitude=magnitude,
        strength=made.strength,
        alpha_assumed=made.alpha_assumed,
    )


def _additive(parts: Mapping[str, Tensor], weight: Shape) -> tuple[Additive, int]:
    if "down" in parts:
        low_rank = _low_rank(parts, weight)
        return low_rank, low_rank.rank
    if "diff" in parts:
        return Full(diff=parts["diff"]), 0
    if "hada_w1_a" in parts:
        hadamard = _hadamard(parts, weight)
        return hadamard, hadamard.rank
    kronecker = _kronecker(parts, weight)
    return kronecker, kronecker.rank


def _low_rank(parts: Mapping[str, Tensor], weight: Shape) -> LowRank:
    down, up = parts["down"], parts["up"]
    if "mid" in parts:
        # Tucker: the middle is a window's worth of rank × rank, folded into the first factor.
        down = _folded(parts["mid"], down.flatten(1), weight)
    if up.ndim != down.ndim or up.shape[1] != down.shape[0] or any(n != 1 for n in up.shape[2:]):
        raise RuntimeError("the factors have no product")
    if down.shape[0] == 0:
        raise RuntimeError("the rank is 0")
    return LowRank(down=down, up=up)


def _hadamard(parts: Mapping[str, Tensor], weight: Shape) -> Hadamard:
    a1, b1 = _pair(parts, "hada_w1", parts.get("hada_t1"), weight)
    a2, b2 = _pair(parts, "hada_w2", parts.get("hada_t2"), weight)
    if a1.shape[0] != a2.shape[0] or b1.shape[1:] != b2.shape[1:]:
        raise RuntimeError("the two products differ in shape")
    return Hadamard(a1=a1, a2=a2, b1=b1, b2=b2)


def _kronecker(parts: Mapping[str, Tensor], weight: Shape) -> Kronecker:
    w1, w1_right = parts.get("lokr_w1"), None
    if w1 is None:
        w1, w1_right = _pair(parts, "lokr_w1", None, weight[:2])
    w2, w2_right = parts.get("lokr_w2"), None
    if w2 is None:
        w2, w2_right = _pair(parts, "lokr_w2", parts.get("lokr_t2"), weight)
    elif w2.ndim == 2:
        w2 = w2.reshape(w2.shape[0], -1, *weight[2:])
    if w1.ndim != 2:
        raise RuntimeError("the first half is no matrix")
    return Kronecker(w1=w1, w1_right=w1_right, w2=w2, w2_right=w2_right)


def _pair(
    parts: Mapping[str, Tensor], name: str, middle: Tensor | None, weight: Shape
) -> tuple[Tensor, Tensor]:
    """The two factors of one product, (out, rank) and (rank, in, …)."""
    left, right = parts[f"{name}_a"], parts[f"{name}_b"]
    if middle is not None:
        left = left.T
        right = _folded(middle, right, weight)
    elif right.ndim == 2:
        right = right.reshape(right.shape[0], -1, *weight[2:])
    if left.ndim != 2 or left.shape[1] != right.shape[0] or 0 in left.shape:
        raise RuntimeError("the factors have no product")
    return left, right


def _folded(middle: Tensor, right: Tensor, weight: Shape) -> Tensor:
    """(rank, in, …) of a middle (rank, rank, …) and (rank, in)."""
    # Before the product, whose size the file could choose at will.
    if middle.shape[2:] != weight[2:] or right.shape[1] > weight[1]:
        raise RuntimeError("the middle does not fit the weight")
    return torch.einsum("ij...,jr->ir...", middle.float(), right.float())


def _strength(parts: Mapping[str, Tensor], rank: int, configured: Strength) -> tuple[float, bool]:
    if "diff" in parts:
        return 1.0, False
    alpha = parts.get("alpha")
    if alpha is not None and alpha.numel() != 1:
        raise LoraShapeMismatch(f"its alpha has the shape {tuple(alpha.shape)}")
    return strength(None if alpha is None else float(alpha), rank, configured)


def strength(alpha: float | None, rank: int, configured: Strength) -> tuple[float, bool]:
    """What a product of this rank is multiplied with, and whether that had to be assumed.

    Raises: LoraNotFinite.
    """
    if alpha is None:
        told = configured(rank)
        # Without any alpha it equals the rank, as diffusers and PEFT take it.
        return (1.0, True) if told is None else (told, False)
    if not math.isfinite(alpha):
        raise LoraNotFinite(f"its alpha is {alpha}")
    # LyCORIS writes an alpha for two whole halves too, and leaves it out of its mathematics.
    return (alpha / rank, False) if rank else (1.0, False)


def _replaced(made: Additive, strength: float, assumed: bool) -> Additive:
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    return type(made)(**(fields | {"strength": strength, "alpha_assumed": assumed}))


def _magnitude(parts: Mapping[str, Tensor], shape: Shape) -> Tensor | None:
    """The magnitude as (out, 1, …) or (1, in, 1, …)."""
    column = (shape[0], *(1,) * (len(shape) - 1))
    row = (1, shape[1], *(1,) * (len(shape) - 2))
    if (theirs := parts.get("magnitude")) is not None:
        # PEFT's is always of the rows, though its shape is turned for convolutions.
        allowed, wanted = ((shape[0],), column, (1, shape[0], *column[2:])), column
        kept = theirs
    elif (kohya := parts.get("dora_scale")) is not None:
        is_row = tuple(kohya.shape) == row != column
        allowed, wanted = ((shape[0],), column, row), row if is_row else column
        kept = kohya
    else:
        return None
    if tuple(kept.shape) not in allowed:
        raise LoraShapeMismatch(
            f"its DoRA magnitude has the shape {tuple(kept.shape)}, its weight {shape}"
        )
    return kept.reshape(wanted)
