"""Where the adapters of one job lie, as the workers of its base tell."""

from collections.abc import Collection, Sequence
from typing import Literal

from lorajobs.holdings import Holder, Holdings, short
from lorajobs.spec import Adapter
from lorajobs.store import WorkerState

#: The nearest place where an adapter is: active on a worker, in the host memory of one, on the
#: disk of one's machine, or at its source only.
Tier = Literal["applied", "memory", "disk", "remote"]


class Whereabouts:
    """The tiers of some adapters for jobs of one base, at the moment when this is made."""

    def __init__(
        self,
        workers: Sequence[WorkerState],
        holdings: Holdings,
        model: str,
        adapters: Sequence[Adapter],
    ) -> None:
        """`workers` are the live ones. Raises: StoreUnavailable."""
        self._workers = [w for w in workers if w.serves(model) and w.takes_jobs]
        # What is in a worker's memory was made for the base that it has loaded.
        self._warm = [w for w in self._workers if w.model == model]
        holders = [Holder("memory", worker.name) for worker in self._warm]
        holders += [Holder("disk", disk) for disk in {w.disk for w in self._workers if w.disk}]
        names = {short(name) for adapter in adapters for name in _names(adapter)}
        self._held = holdings.held(holders, names) if holders and names else {}

    def tier(self, adapter: Adapter) -> Tier | None:
        """The nearest place of one of these adapters; None if no worker takes such jobs."""
        if not self._workers:
            return None
        if any(adapter.key == lora.key for worker in self._warm for lora in worker.loaded):
            return "applied"
        if self._has("memory", {short(adapter.content)}):
            return "memory"
        if self._has("disk", {short(file.sha256) for file in adapter.files}):
            return "disk"
        return "remote"

    def _has(self, kind: str, names: Collection[str]) -> bool:
        """True if one holder of this kind has all of them."""
        own = (held for holder, held in self._held.items() if holder.kind == kind)
        return any(held.issuperset(names) for held in own)


def _names(adapter: Adapter) -> Sequence[str]:
    return (adapter.content, *(file.sha256 for file in adapter.files))
