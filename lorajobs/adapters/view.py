"""The adapters as one caller sees them."""

from collections.abc import Collection, Sequence
from functools import cached_property

from lorajobs.adapters.awaited import AwaitedUploads
from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import LoraRecord
from lorajobs.api_keys import Caller
from lorajobs.catalog import ModelEntry
from lorajobs.holdings import short
from lorajobs.jobs import AppliedLora
from lorajobs.spec import Adapter
from lorajobs.upload_errors import LoraNotReady


class View:
    """What planning a job of this caller asks of the library."""

    def __init__(self, library: Library, uploads: AwaitedUploads, caller: Caller) -> None:
        self._library = library
        self._uploads = uploads
        self._caller = caller

    def find(self, lora_id: str) -> LoraRecord | None:
        """The adapter of this id, if it is there for the caller.

        Raises: LoraNotReady.
        """
        found = self._library.find(lora_id, self._caller)
        if found is None and self._uploads.find(lora_id, self._caller):
            raise LoraNotReady(
                f"the file of {lora_id} is still awaited: PUT it to its URL, then POST "
                f"/v1/loras/{lora_id}/complete"
            )
        return found

    def records(self) -> Sequence[LoraRecord]:
        """Every adapter that is there for the caller."""
        return self._library.records(self._caller)

    def pin(self, record: LoraRecord) -> Adapter:
        """See `Library.pin`."""
        return self._library.pin(record)

    def resolve(self, reference: str, base: ModelEntry, weight_name: str | None) -> Adapter:
        """See `Library.resolve`."""
        return self._library.resolve(reference, base, weight_name)

    def require_fit(self, adapter: Adapter, base: ModelEntry) -> None:
        """See `Library.require_fit`."""
        self._library.require_fit(adapter, base)

    def of(self, uses: Sequence[AppliedLora]) -> Sequence[AppliedLora]:
        """Those of the applied adapters whose use the caller may learn of."""
        if self._caller.sees_all:
            return uses
        known = {(record.id, adapter.sha256) for record, adapter in self._pinned}
        return [use for use in uses if (use.id, use.sha256) in known]

    def named(self, held: Collection[str]) -> Sequence[str]:
        """The ids of the caller's adapters that are among those of a holder's memory."""
        if not held:
            return []
        found = [record for record, adapter in self._pinned if short(adapter.content) in held]
        return [r.id if r.owner == self._caller.owner else r.name for r in found]

    @cached_property
    def _pinned(self) -> Sequence[tuple[LoraRecord, Adapter]]:
        return [(record, record.adapter) for record in self.records() if record.adapter]
