"""Writes `round(W0 + Σ scale · Δ)` into a base's weights: float32 sums, one rounding.

What is written depends on the pristine weights and on the adapters alone, never on what was there
before: the adapters are summed in the order of their content, slot by slot in fixed chunks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lorajobs.engine.arena import Arena, Group, Slot, Slots, span
from lorajobs.engine.blob import Bucket, Packed
from lorajobs.engine.layer import Layer

#: Elements whose float32 sums are held at once, so that they stay in few megabytes.
CHUNK = 1 << 24


class Term(NamedTuple):
    """One bucket of an adapter at the scale that was asked for."""

    bucket: Bucket
    scale: float


class Work(NamedTuple):
    """The slots of one group that products of two factors change, and those products in order."""

    number: int
    slots: Slots
    terms: tuple[Term, ...]


class Mixed(NamedTuple):
    """One slot that another kind of layer changes too, and all of its layers in order."""

    slot: Slot
    layers: tuple[tuple[Layer, float], ...]


class Plan(NamedTuple):
    """All that a set of adapters changes."""

    packs: tuple[Packed, ...]
    works: tuple[Work, ...]
    mixed: tuple[Mixed, ...]

    def slots(self) -> dict[int, Slots]:
        """The slots that are written, by group."""
        found = {work.number: work.slots for work in self.works}
        for number, index in sorted(mixed.slot for mixed in self.mixed):
            found[number] = np.union1d(found.get(number, np.empty(0, np.int64)), [index])
        return found


class Fuser(Protocol):
    """Computes on one device what a plan asks for."""

    def write(self, plan: Plan, stale: Mapping[int, Slots]) -> None:
        """Restores the stale slots, by group, and writes the plan's.

        A GPU may still be at it: what is enqueued there afterwards finds all of it. The plan's
        memory must stay until the next write, which waits for this one.
        """

    def expected(self, work: Work, slots: Slots) -> Tensor:
        """What these of the work's slots must hold, to the bit: (number, out, width)."""

    def samples(self, work: Work) -> Sequence[Slots]:
        """The work's slots in the portions in which `expected` gives equal bits."""


def plan_of(arena: Arena, adapters: Sequence[tuple[Packed, float]]) -> Plan:
    """Sorts what these adapters, in the order in which they are summed, do to each weight."""
    odd = sorted({slot for packed, _ in adapters for slot in packed.loose})
    mixed = []
    for slot in odd:
        shape = arena.groups[slot.group].shape
        layers = ((packed.layer(slot, shape), scale) for packed, scale in adapters)
        mixed.append(Mixed(slot, tuple((x, s) for x, s in layers if x is not None)))
    terms: dict[int, list[Term]] = {}
    for packed, scale in adapters:
        for bucket in packed.buckets:
            terms.setdefault(bucket.group, []).append(Term(bucket, scale))
    works = [
        Work(number, _slots(found, [slot.at for slot in odd if slot.group == number]), (*found,))
        for number, found in sorted(terms.items())
    ]
    works = [work for work in works if len(work.slots)]
    return Plan(tuple(packed for packed, _ in adapters), tuple(works), tuple(mixed))


class BatchedFuser:
    """Batched matrix products in float32, on any device: the reference."""

    def __init__(self, arena: Arena) -> None:
        self._groups = arena.groups

    def write(self, plan: Plan, stale: Mapping[int, Slots]) -> None:
        """Restores the stale slots and writes the plan's, in chunks."""
        for number, slots in stale.items():
            self._groups[number].restore(slots)
        for work in plan.works:
            group = self._groups[work.number]
            for chunk in self.samples(work):
                group.live[span(chunk)] = self.expected(work, chunk)
        write_mixed(self._groups, plan.mixed)
        settle(self._groups)

    def expected(self, work: Work, slots: Slots) -> Tensor:
        """The sums of one chunk."""
        group = self._groups[work.number]
        total = group.pristine[span(slots)].to(group.live.device).to(torch.float32, copy=True)
        for term in work.terms:
            _add(total, term, slots)
        return total.to(group.live.dtype)

    def samples(self, work: Work) -> Sequence[Slots]:
        """Chunks, because a product's last bits may depend on how many are computed together."""
        size = self._groups[work.number].live[0].numel()
        at_once = max(1, CHUNK // size)
        return [work.slots[i : i + at_once] for i in range(0, len(work.slots), at_once)]


def _slots(terms: Sequence[Term], odd: Sequence[int]) -> Slots:
    if len(terms) == 1 and not odd:
        return terms[0].bucket.slots
    slots = np.unique(np.concatenate([term.bucket.slots for term in terms]))
    return np.setdiff1d(slots, odd)


def write_mixed(groups: Sequence[Group], mixed: Iterable[Mixed]) -> None:
    """Writes one slot after another, each layer answering for itself."""
    for one in mixed:
        groups[one.slot.group].live[one.slot.at] = expected_mixed(groups, one)


def expected_mixed(groups: Sequence[Group], mixed: Mixed) -> Tensor:
    """What this slot must hold: (out, width)."""
    group = groups[mixed.slot.group]
    device = group.live.device
    base = group.pristine[mixed.slot.at].to(device).float().view(group.shape)
    total = base.clone()
    for layer, scale in mixed.layers:
        near = layer.with_tensors(lambda tensor: tensor.to(device, non_blocking=True))
        total += near.delta_from(base, scale)
    return total.flatten(1).to(group.live.dtype)


def settle(groups: Sequence[Group]) -> None:
    """Waits until a GPU has done what was enqueued, so that its failures show here."""
    if groups and groups[0].live.device.type == "cuda":
        torch.cuda.synchronize(groups[0].live.device)


def _add(total: Tensor, term: Term, slots: Slots) -> None:
    rows = term.bucket.rows(slots)
    there = np.flatnonzero(rows >= 0)
    if not len(there):
        return
    rows = rows[there]
    strengths = term.bucket.strengths[rows] * np.float32(term.scale)
    up = term.bucket.up[span(rows)].to(total.device, torch.float32)
    up = up * torch.from_numpy(strengths).to(total.device)[:, None, None]
    down = term.bucket.down[span(rows)].to(total.device, torch.float32)
    if len(there) == len(slots):
        total.baddbmm_(up, down)
    else:
        at = span(there)
        total[at] = torch.baddbmm(total[at], up, down)
