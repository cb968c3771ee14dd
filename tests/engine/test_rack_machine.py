"""Any order of applying, failing, forgetting and restarting leaves the weights of a fresh rack."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lorajobs.errors import LoraNotApplied
from tests.engine.rack import Bed, adapter, modules

SETS = st.dictionaries(st.integers(0, 4), st.sampled_from([-1.0, 0.0, 0.5, 1.0]), max_size=3)


def fresh(chosen: dict[int, float]) -> str:
    """The digest of a base on which nothing but this set was ever put."""
    bed = Bed(modules())
    bed.rack.activate([adapter(*one) for one in chosen.items()])
    return bed.digest()


class RackMachine(RuleBasedStateMachine):
    """One rack, and the set that must be on."""

    @initialize()
    def start(self) -> None:
        self.bed = Bed(modules(), budget=4_000)
        self.on: dict[int, float] = {}
        self.pointers = self.bed.pointers()

    @rule(chosen=SETS)
    def apply(self, chosen: dict[int, float]) -> None:
        self.bed.rack.activate([adapter(*one) for one in chosen.items()])
        self.on = chosen

    @rule(chosen=SETS)
    def refuse(self, chosen: dict[int, float]) -> None:
        asked = [adapter(*one) for one in chosen.items()]
        with pytest.raises(LoraNotApplied):
            self.bed.rack.activate([*asked, adapter(-1)])
        self.on = {}

    @rule(chosen=SETS, after=st.integers(0, 6))
    def fail(self, chosen: dict[int, float], after: int) -> None:
        self.bed.fuser.left = after
        try:
            self.bed.rack.activate([adapter(*one) for one in chosen.items()])
        except MemoryError:
            self.on = {}
        else:
            self.on = chosen
        self.bed.fuser.left = None

    @rule(seed=st.integers(0, 4))
    def preload(self, seed: int) -> None:
        self.bed.rack.preload([adapter(seed)])

    @rule()
    def evict(self) -> None:
        self.bed.rack.forget()

    @rule()
    def restart(self) -> None:
        self.start()

    @invariant()
    def weights_are_those_of_a_fresh_rack(self) -> None:
        assert self.bed.digest() == fresh(self.on)
        names = [int(lora.id) for lora in self.bed.rack.applied]
        assert sorted(names) == sorted(self.on)
        self.bed.rack.check()

    @invariant()
    def nothing_moved(self) -> None:
        assert self.bed.pointers() == self.pointers


TestRackMachine = RackMachine.TestCase
TestRackMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
