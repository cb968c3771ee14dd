"""What every way of putting adapters onto a pipeline offers, and how adapters are told apart."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Protocol

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.layer import Parts
from lorajobs.engine.placement import Placement
from lorajobs.engine.summary import Summary
from lorajobs.errors import LoraNotApplied
from lorajobs.jobs import AppliedLora

#: Adapters by content with their scales, in the order in which they are added up.
Active = tuple[tuple[str, float], ...]
#: Reads an adapter's file and accounts for every tensor; raises LoraNotApplied and LoraRefused.
Read = Callable[[LocalAdapter], Parts]


class Rack(Protocol):
    """The adapters of one pipeline; without any of them the base is exact."""

    @property
    def placement(self) -> Placement:
        """Where the pristine weights lie."""

    @property
    def applied(self) -> tuple[AppliedLora, ...]:
        """The adapters that are active."""

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Makes adapters quick to activate; what is active stays so.

        Raises: LoraNotApplied; no adapter is active then.
        """

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """The same as far as it can be done in another thread, beside all other verbs.

        Raises: LoraRefused, LoraNotApplied; what is active stays so.
        """

    def activate(self, adapters: Sequence[LocalAdapter]) -> tuple[AppliedLora, ...]:
        """Makes exactly these adapters active; nothing is done if they already are.

        They are added up in the order of their content, whatever order they were asked for in.
        Raises: LoraNotApplied; no adapter is active then.
        """

    def resident(self) -> Collection[str]:
        """The adapters that are quick to activate, by content."""

    def encoders(self) -> Hashable:
        """Another value whenever the text encoders' weights or tokens are others."""

    def check(self) -> None:
        """Compares a sample of the pipeline's weights with what they must be now.

        Raises: BaseCorrupt.
        """


def wanted(adapters: Sequence[LocalAdapter]) -> Active:
    """Names and scales of these adapters in the order of their content.

    Raises: LoraNotApplied if one is named twice.
    """
    found = sorted((content(adapter), adapter.use.scale) for adapter in adapters)
    doubled = [name for name, n in Counter(name for name, _ in found).items() if n > 1]
    for adapter in adapters:
        if content(adapter) in doubled:
            raise LoraNotApplied(f"{adapter.use.adapter.id} is asked for twice; give one scale")
    return tuple(found)


def content(adapter: LocalAdapter) -> str:
    """See `Adapter.content`."""
    return adapter.use.adapter.content


def applied_lora(adapter: LocalAdapter, told: Summary) -> AppliedLora:
    """What is reported of an adapter once it is active."""
    pinned, scale = adapter.use.adapter, adapter.use.scale
    return AppliedLora(
        id=pinned.id,
        revision=pinned.revision,
        sha256=pinned.sha256,
        scale=scale,
        modules=told.modules,
        rank=told.rank,
        effective_scale=scale * told.strength,
        alpha_assumed=told.alpha_assumed,
        embeddings_sha256=pinned.embeddings and pinned.embeddings.sha256,
        tokens=pinned.embeddings.tokens if pinned.embeddings else (),
    )
