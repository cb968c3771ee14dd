"""Adapters summed into a base's own weights, from its pristine copy, without a trace afterwards."""

import random
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from lorajobs.engine.arena import Arena, Slots, span
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.blob import Packed
from lorajobs.engine.fuse import Fuser, Plan, expected_mixed, plan_of
from lorajobs.engine.host_cache import HostCache, Shelf
from lorajobs.engine.packer import Packer
from lorajobs.engine.placement import Placement
from lorajobs.engine.rack import Active, applied_lora, content, wanted
from lorajobs.engine.summary import Summary
from lorajobs.errors import BaseCorrupt
from lorajobs.jobs import AppliedLora

#: Portions of the active adapters, and weights that they leave alone, in one look of the canary.
SAMPLES = 4


class InPlaceRack:
    """Implements `Rack`: every write is a function of W0 and the adapters, so nothing drifts."""

    def __init__(
        self,
        arena: Arena,
        fuser: Fuser,
        cache: HostCache | Shelf,
        packer: Packer,
        placement: Placement,
    ) -> None:
        """Takes an arena whose weights are pristine."""
        self.placement = placement
        self.applied: tuple[AppliedLora, ...] = ()
        self.arena = arena
        self.fuser = fuser
        self._cache = cache
        self._packer = packer
        #: None while what is in the weights is unknown
        self._active: Active | None = ()
        self._summaries: Mapping[str, Summary] = {}
        self._plan = Plan((), (), ())
        #: by group, the slots that may differ from their pristine twins
        self._dirty: dict[int, Slots] = {}
        self._chance = random.Random(0)

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Brings adapters into host memory; what is active stays so.

        Raises: LoraNotApplied; no adapter is active then.
        """
        with self._bare_on_error():
            for adapter in adapters:
                self._packed(adapter)

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """Brings adapters into host memory from another thread.

        Raises: LoraRefused, LoraNotApplied; what is active stays so.
        """
        for adapter in adapters:
            self._packed(adapter)

    def activate(self, adapters: Sequence[LocalAdapter]) -> tuple[AppliedLora, ...]:
        """Makes the weights those of the base with exactly these adapters.

        Raises: LoraNotApplied; no adapter is active then.
        """
        with self._bare_on_error():
            asked = wanted(adapters)
            if asked != self._active:
                self._cache.hold([name for name, _ in asked])
                packs = {content(adapter): self._packed(adapter) for adapter in adapters}
                self._write(plan_of(self.arena, [(packs[name], s) for name, s in asked]))
                self._active = asked
                self._summaries = {name: packed.summary for name, packed in packs.items()}
        self.applied = tuple(applied_lora(a, self._summaries[content(a)]) for a in adapters)
        return self.applied

    def resident(self) -> Collection[str]:
        """The adapters in host memory."""
        return self._cache.names()

    def forget(self) -> None:
        """Gives back the host memory of all adapters but the active ones."""
        self._cache.clear()

    def encoders(self) -> Hashable:
        """The active adapters, if they change any text encoder."""
        groups = self.arena.groups
        touched = any(groups[number].component.startswith("text_encoder") for number in self._dirty)
        return self._active if touched else ()

    def check(self) -> None:
        """Compares some weights with what they must be now, to the bit.

        Raises: BaseCorrupt naming a weight that differs.
        """
        for work in self._chance.sample(self._plan.works, min(SAMPLES, len(self._plan.works))):
            slots = self._chance.choice(self.fuser.samples(work))
            self._compare(work.number, slots, self.fuser.expected(work, slots))
        for mixed in self._chance.sample(self._plan.mixed, min(SAMPLES, len(self._plan.mixed))):
            expected = expected_mixed(self.arena.groups, mixed)[None]
            self._compare(mixed.slot.group, np.array([mixed.slot.at]), expected)
        for _ in range(SAMPLES):
            number = self._chance.randrange(len(self.arena.groups))
            group = self.arena.groups[number]
            index = np.array([self._chance.randrange(len(group.paths))])
            if index[0] not in self._dirty.get(number, ()):
                self._compare(number, index, group.pristine[span(index)].to(group.live.device))

    def _compare(self, number: int, slots: Slots, expected: torch.Tensor) -> None:
        group = self.arena.groups[number]
        # As integers, so that a NaN equals itself.
        kind = torch.int32 if expected.dtype.itemsize == 4 else torch.int16
        same = (group.live[span(slots)].view(kind) == expected.view(kind)).flatten(1).all(1)
        for slot, is_same in zip(slots, same.tolist(), strict=True):
            if not is_same:
                path = f"{group.component}.{group.paths[slot]}"
                raise BaseCorrupt(f"{path} is not the base with its adapters")

    @contextmanager
    def _bare_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.applied, self._active = (), None
            self._cache.hold(())
            self._write(Plan((), (), ()))
            self._active = ()
            raise

    def _packed(self, adapter: LocalAdapter) -> Packed:
        return self._cache.get(content(adapter), lambda: self._packer.packed(adapter))

    def _write(self, plan: Plan) -> None:
        """Writes what the plan touches and restores what is dirty beyond it."""
        touched = plan.slots()
        stale = {n: _without(slots, touched.get(n)) for n, slots in self._dirty.items()}
        stale = {n: slots for n, slots in stale.items() if len(slots)}
        for number, slots in touched.items():
            self._dirty[number] = np.union1d(stale[number], slots) if number in stale else slots
        with torch.inference_mode():
            self.fuser.write(plan, stale)
        self._dirty, self._plan = touched, plan


def _without(slots: Slots, others: Slots | None) -> Slots:
    if others is None:
        return slots
    # Adapters of one kind touch the same, and comparing takes a tenth of the time.
    return slots[:0] if np.array_equal(slots, others) else np.setdiff1d(slots, others)
