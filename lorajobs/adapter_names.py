"""What adapters are called of which only a hash is told."""

from collections.abc import Collection, Iterator, Sequence

from lorajobs.adapters.registry import LoraRegistry
from lorajobs.document import without_secrets
from lorajobs.holdings import short
from lorajobs.overview import AdapterView
from lorajobs.spec import AdapterUse

#: The adapters that are named of each worker's memory and disk.
NAMED = 50
_SHORT = 12


class AdapterNames:
    """The names of the registered adapters, at the moment when this is made."""

    def __init__(self, registry: LoraRegistry) -> None:
        """Raises: StoreUnavailable."""
        pinned = [(record.name, record.adapter) for record in registry.all() if record.adapter]
        # In memory one with a PEFT configuration has another name than its file.
        files = {short(adapter.sha256): name for name, adapter in pinned}
        self._known = files | {short(adapter.content): name for name, adapter in pinned}

        #: strips name the same few groups again and again
        self._groups: dict[str, tuple[AdapterView, ...]] = {}

    def of_group(self, group: str) -> tuple[AdapterView, ...]:
        """The adapters of a group's name; by the start of its hash one that has no id."""
        if group not in self._groups:
            self._groups[group] = tuple(
                AdapterView(id=self._known.get(short(sha256), sha256[:_SHORT]), scale=scale)
                for sha256, scale in _uses_of(group)
            )
        return self._groups[group]

    def of_holder(self, adapters: Collection[str]) -> tuple[str, ...]:
        """The first by name of what a holder tells, those without one last."""
        names = sorted(self._known[adapter] for adapter in adapters if adapter in self._known)
        others = sorted(adapter[:_SHORT] for adapter in adapters if adapter not in self._known)
        return tuple([*names, *others][:NAMED])


def _uses_of(group: str) -> Iterator[tuple[str, float]]:
    for use in filter(None, group.split(",")):
        key, _, scale = use.rpartition("@")
        yield key.partition("+")[0], float(scale)


def of_uses(uses: Sequence[AdapterUse]) -> tuple[AdapterView, ...]:
    """The adapters of a job as it named them."""
    return tuple(AdapterView(id=without_secrets(use.adapter.id), scale=use.scale) for use in uses)
