"""What an adapter's header tells of it, and the refusals that need no more than that."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lorajobs.adapters import family, keys
from lorajobs.adapters.header import Header
from lorajobs.errors import LoraTooLarge
from lorajobs.lora_errors import (
    LoraNoEffect,
    LoraShapeMismatch,
    LoraUnknownKeys,
    LoraUnsupported,
    LoraWrongFamily,
)

#: Beyond the width of any attention; more only costs memory and time.
MAX_RANK = 4096
#: How many names a refusal tells.
SHOWN = 5

#: A module is whole with one of these.
_WHOLE = (
    {"down", "up"},
    {"diff"},
    {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"},
    {"lokr_w1", "lokr_w2"},
    {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
    {"lokr_w1_a", "lokr_w1_b", "lokr_w2"},
    {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
)
#: Whose inner size is the rank, and whose second axis is the width of the weight.
_RANKED = ("down", "hada_w1_b", "hada_w2_b", "lokr_w2_b", "lokr_w1_b")
_WIDE = ("down", "hada_w1_b", "diff")
#: What may come on top, by a part that must be there.
_MORE = {
    "alpha": "",
    "magnitude": "",
    "dora_scale": "",
    "mid": "down",
    "hada_t1": "hada_t2",
    "hada_t2": "hada_t1",
    "lokr_t2": "lokr_w2_a",
}


class Anatomy(NamedTuple):
    """An adapter by its header."""

    inventory: keys.Inventory
    #: of each module that has one, in the order of the file
    ranks: Sequence[int]
    #: modules without an alpha of their own
    without_alpha: int
    #: None if it cannot be told
    family: str | None

    @property
    def kinds(self) -> Mapping[str, int]:
        """How many modules are of which kind."""
        return Counter(keys.kind(parts) for parts in self.inventory.modules.values())


def anatomy(header: Header) -> Anatomy:
    """Reads a header's names and shapes."""
    found = keys.inventory(header.tensors)
    names: dict[int | None, list[str]] = {}
    ranks = []
    for module, parts in found.modules.items():
        names.setdefault(_side(1, _WIDE, parts, header), []).append(module)
        if rank := _side(0, _RANKED, parts, header):
            ranks.append(rank)
    return Anatomy(
        found,
        ranks,
        sum("alpha" not in parts and "diff" not in parts for parts in found.modules.values()),
        family.of_adapter({w: keys.own_name("\n".join(some)) for w, some in names.items()}),
    )


def require(found: Anatomy, base: str | None) -> None:
    """Refuses what cannot be an adapter of a base of this family; None: of any family.

    Raises: LoraWrongFamily, LoraUnsupported, LoraUnknownKeys, LoraNoEffect, LoraShapeMismatch,
    LoraTooLarge; each names up to five keys.
    """
    if found.family and base and found.family != base:
        raise LoraWrongFamily(
            f"it is an adapter of {found.family} by its names and shapes, the base is {base}; "
            "use it on a base of its own family"
        )
    _require_served(found.inventory)
    _require_whole(found.inventory)
    if max(found.ranks, default=0) > MAX_RANK:
        raise LoraTooLarge(f"it has the rank {max(found.ranks)}, allowed are {MAX_RANK}")


def listed(names: Iterable[str]) -> str:
    """Up to five names, for messages."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _require_served(found: keys.Inventory) -> None:
    unserved = {
        name: part
        for parts in found.modules.values()
        for part, name in parts.items()
        if part in keys.UNSERVED
    }
    if unserved:
        what = " and ".join(sorted({keys.UNSERVED[part] for part in unserved.values()}))
        raise LoraUnsupported(
            f"{len(unserved)} of its tensors are {what}, which is not supported: {listed(unserved)}"
        )


def _require_whole(found: keys.Inventory) -> None:
    if found.unknown and not found.modules:
        raise LoraNoEffect(f"the file holds no LoRA layers; it holds {listed(found.unknown)}")
    if found.unknown:
        raise LoraUnknownKeys(
            f"{len(found.unknown)} of its tensors have names of no known adapter format: "
            f"{listed(found.unknown)}"
        )
    if not found.modules:
        raise LoraNoEffect("the file holds no LoRA layers")
    # Thousands of modules have the same few sets of parts: one of each is looked at.
    kinds: dict[frozenset[str], str] = {}
    for module, parts in found.modules.items():
        kinds.setdefault(frozenset(parts), module)
    for held, module in kinds.items():
        extra = {part for part in held & _MORE.keys() if not _MORE[part] or _MORE[part] in held}
        if held - extra not in _WHOLE:
            raise LoraShapeMismatch(
                f"{module} has {', '.join(sorted(held))}, which is only one part of a pair "
                "or a mixture of formats"
            )


def _side(axis: int, kinds: Iterable[str], parts: Mapping[str, str], header: Header) -> int | None:
    """The size along one axis of the first of these parts that has it."""
    for kind in kinds:
        if kind in parts and len(shape := header.tensors[parts[kind]].shape) > axis:
            return shape[axis]
    return None
