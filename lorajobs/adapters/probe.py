"""Looks at an adapter's header before a job is accepted: a wrong file is refused at once."""

from collections import OrderedDict

from lorajobs.adapters.anatomy import anatomy, require
from lorajobs.adapters.resolver import Resolver
from lorajobs.catalog import ModelEntry
from lorajobs.document import without_secrets
from lorajobs.errors import LoraRefused
from lorajobs.spec import Adapter

#: Verdicts that one process remembers.
REMEMBERED = 4096


class Probe:
    """Remembers its verdicts: what is pinned does not change."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._families: dict[str, str] = {}
        #: by location and family of the base, what refuses the adapter
        self._verdicts: OrderedDict[tuple[str, str | None], LoraRefused | None] = OrderedDict()

    def require_fit(self, adapter: Adapter, base: ModelEntry) -> None:
        """Refuses what its header shows to be no adapter for this base.

        Where the header cannot be had without the weights, or nothing tells the base's family, the
        worker finds out. Raises: LoraRefused.
        """
        family = self._family_of(base)
        key = adapter.location, family
        if key not in self._verdicts:
            self._verdicts[key] = self._refusal(adapter, family)
            if len(self._verdicts) > REMEMBERED:
                self._verdicts.popitem(last=False)
        refusal = self._verdicts[key]
        if refusal:
            # Another job may call the same file by another name.
            raise type(refusal)(f"{without_secrets(adapter.id)}: {refusal.detail}")

    def _family_of(self, base: ModelEntry) -> str | None:
        """Remembered once something tells: a base does not become another while it is served."""
        family = self._families.get(base.id) or self._resolver.family_of(base)
        if family:
            self._families[base.id] = family
        return family

    def _refusal(self, adapter: Adapter, family: str | None) -> LoraRefused | None:
        try:
            header = self._resolver.header(adapter)
            if header:
                require(anatomy(header), family)
        except LoraRefused as error:
            return error
        return None
