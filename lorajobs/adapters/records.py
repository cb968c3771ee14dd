"""Which adapter is meant by an id, as each caller sees it."""

import time
from collections.abc import Callable, Sequence

from lorajobs.access_errors import ScopeMissing
from lorajobs.adapters.registry import LoraRecord, LoraRegistry
from lorajobs.api_keys import Caller
from lorajobs.catalog import Catalog, LoraEntry
from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.spec import Visibility

#: Seconds for which a configured adapter's record is remembered, which only its first use and a
#: change of its file write.
KEPT_S = 1.0


class Records:
    """The configured adapters, and those that were registered; the registry is asked for each.

    A private adapter's id is its key's own: others can use the same, and nobody learns of it.
    """

    def __init__(
        self,
        catalog: Catalog,
        registry: LoraRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds."""
        self._catalog = catalog
        self._registry = registry
        self._clock = clock
        #: configured adapters, and until when each is remembered
        self._recent: dict[str, tuple[float, LoraRecord]] = {}

    def find(self, lora_id: str, caller: Caller) -> LoraRecord | None:
        """The configured adapter of this id, or the caller's own, or a public one.

        For an admin, `<key>:<id>` is another key's private one.
        """
        if entry := self._catalog.loras.get(lora_id):
            return self._of(entry)
        found = self._registry.get(f"{caller.owner}:{lora_id}", lora_id)
        return found if found and _is_there_for(found, caller) else None

    def _of(self, entry: LoraEntry) -> LoraRecord:
        until, record = self._recent.get(entry.id, (0.0, None))
        now = self._clock()
        if record is None or now >= until:
            record = _configured(entry, self._registry.get(entry.id))
            self._recent[entry.id] = now + KEPT_S, record
        return record

    def pin(self, record: LoraRecord) -> None:
        """Keeps a configured adapter's version."""
        self._registry.put(record)
        self._recent.pop(record.id, None)

    def all(self, caller: Caller) -> Sequence[LoraRecord]:
        """Every adapter that the caller sees, by id."""
        stored = {record.name: record for record in self._registry.all()}
        configured = [_configured(e, stored.pop(e.id, None)) for e in self._catalog.loras.values()]
        others = [record for record in stored.values() if _is_there_for(record, caller)]
        return sorted(configured + others, key=lambda record: (record.id, record.name))

    def require_free(self, lora_id: str, caller: Caller, visibility: Visibility) -> None:
        """Refuses an id that the caller cannot register.

        Raises: ValidationFailed.
        """
        held = self._registry.get(lora_id) if visibility == "public" else None
        if lora_id in self._catalog.loras:
            detail = f"{lora_id} is configured in lorajobs.toml; change it there"
        elif self._catalog.model(lora_id):
            detail = f"{lora_id} is the name of a base model"
        elif held and not held.configured and held.owner != caller.owner:
            detail = _taken(lora_id)
        else:
            return
        raise ValidationFailed(detail, FieldError("/id", detail))

    def write(self, record: LoraRecord) -> None:
        """Keeps a registered adapter, in place of an earlier one of its id and owner.

        Raises: ValidationFailed if the id is another key's by now.
        """
        if not self._registry.claim(record):
            detail = _taken(record.id)
            raise ValidationFailed(detail, FieldError("/id", detail))
        other: Visibility = "public" if record.visibility == "private" else "private"
        earlier = self._registry.get(record.model_copy(update={"visibility": other}).name)
        if earlier and earlier.owner == record.owner and not earlier.configured:
            self._registry.remove(earlier.name)

    def remove(self, lora_id: str, caller: Caller) -> bool:
        """Forgets a registered adapter; False if the caller sees none of this id.

        Raises: ValidationFailed for a configured one, ScopeMissing for another key's.
        """
        record = self.find(lora_id, caller)
        if record is None:
            return False
        if record.configured:
            detail = f"{lora_id} is configured in lorajobs.toml; remove it there"
            raise ValidationFailed(detail, FieldError("/id", detail))
        if not caller.may_see(record.owner):
            raise ScopeMissing(f"{lora_id} is another key's: that one or an admin's ends it")
        return self._registry.remove(record.name)


def _taken(lora_id: str) -> str:
    return f"{lora_id} is another key's public adapter; choose another id, or make yours private"


def _is_there_for(record: LoraRecord, caller: Caller) -> bool:
    """False too for what a former `lorajobs.toml` left in the registry: that is no adapter."""
    if record.configured:
        return False
    return record.visibility == "public" or caller.may_see(record.owner)


def _configured(entry: LoraEntry, stored: LoraRecord | None) -> LoraRecord:
    """The entry of `lorajobs.toml`, with the version that was pinned for just this entry."""
    record = LoraRecord(
        id=entry.id,
        source=entry.source,
        base=entry.base or "",
        weight_name=entry.weight_name,
        scale=entry.scale,
        trigger_words=entry.trigger_words,
        license=entry.license,
        configured=True,
    )
    if stored is None or not stored.configured:
        return record
    if (stored.source, stored.weight_name) != (record.source, record.weight_name):
        return record
    known = {
        "adapter": stored.adapter,
        "state": stored.state,
        "trigger_words": record.trigger_words or stored.trigger_words,
        "license": record.license or stored.license,
    }
    return record.model_copy(update=known)
