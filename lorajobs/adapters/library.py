"""The one door to adapters: registered ids, callers' references, and their files."""

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

from lorajobs.adapters.cache import Held
from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Trust
from lorajobs.adapters.probe import REMEMBERED, Probe
from lorajobs.adapters.records import Records
from lorajobs.adapters.reference import PathReference, Reference, parse
from lorajobs.adapters.registry import LoraRecord, LoraRegistry
from lorajobs.adapters.resolver import Resolved, Resolver
from lorajobs.adapters.upload import SCHEME, Upload
from lorajobs.api_keys import NOBODY, OPERATOR, Caller
from lorajobs.catalog import Catalog, LoraEntry, ModelEntry
from lorajobs.document import without_secrets
from lorajobs.errors import (
    ConfigError,
    FieldError,
    LoraBaseMismatch,
    LoraFetchFailed,
    RequestError,
    UnknownModel,
    ValidationFailed,
)
from lorajobs.field_errors import nearest
from lorajobs.settings import Settings
from lorajobs.spec import Adapter, PinnedFile, Visibility
from lorajobs.storage.base import ObjectStore

_log = logging.getLogger(__name__)


class Library:
    """Every adapter that a job may name; API and workers each hold one."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        registry: LoraRegistry,
        objects: ObjectStore,
    ) -> None:
        """Reads nothing yet.

        Raises: ConfigError naming the entry whose source is no reference.
        """
        for entry in catalog.loras.values():
            try:
                parse(entry.source)
            except RequestError as error:
                raise ConfigError(f"loras.{entry.id}.source: {error.detail}") from error
        self._catalog = catalog
        self._registry = registry
        self._records = Records(catalog, registry)
        self._resolver = Resolver(settings, objects)
        self._probe = Probe(self._resolver)
        #: callers' paths by reference and weight name: a file that is as it was is not read again
        self._callers: OrderedDict[tuple[str, str | None], Resolved] = OrderedDict()

    def find(self, lora_id: str, caller: Caller = NOBODY) -> LoraRecord | None:
        """The adapter that is configured or registered under this id and there for the caller.

        Raises: StoreUnavailable.
        """
        return self._records.find(lora_id, caller)

    def records(self, caller: Caller = NOBODY) -> Sequence[LoraRecord]:
        """Every configured and registered adapter that is there for the caller, by id.

        Raises: StoreUnavailable.
        """
        return self._records.all(caller)

    def draft(self, entry: LoraEntry, caller: Caller, visibility: Visibility) -> LoraRecord:
        """The registration of an adapter whose file is still to come; nothing is written.

        Raises: ValidationFailed, UnknownModel, StoreUnavailable.
        """
        self._records.require_free(entry.id, caller, visibility)
        base = self._known_base(entry.base) if entry.base else self._base_of(None, entry.id)
        return _drafted(entry, entry.source, base, caller, visibility)

    def register(
        self,
        entry: LoraEntry,
        caller: Caller = OPERATOR,
        visibility: Visibility = "public",
        upload: Upload | None = None,
    ) -> LoraRecord:
        """Pins the source's present version under an id; the same id again is a new version.

        Without a base, a hub repository's card must name one of the configured. What is uploaded
        comes instead of the entry's source.
        Raises: ValidationFailed, UnknownModel, other RequestErrors; LoraFetchFailed,
        StorageUnavailable, StoreUnavailable.
        """
        self._records.require_free(entry.id, caller, visibility)
        base = self._known_base(entry.base) if entry.base else None

        def base_rule(card: Card | None, where: str) -> str | None:
            if base:
                return _declared(card, base)
            return _declared(card, self._base_of(card, where))

        source = upload or parse(entry.source)
        trust = Trust.REGISTERED if caller.sees_all else Trust.OWNED
        resolved = self._resolver.resolve(entry.id, source, entry.weight_name, trust, base_rule)
        base = base or self._base_of(resolved.card, entry.id)
        self.require_fit(resolved.adapter, base)
        record = _pinned(_drafted(entry, str(source), base, caller, visibility), resolved)
        self._records.write(record)
        return record

    def remove(self, lora_id: str, caller: Caller = OPERATOR) -> bool:
        """Forgets a registration; jobs that wait keep its bytes. False if there was none.

        Raises: ValidationFailed for a configured adapter, ScopeMissing for another key's,
        StoreUnavailable.
        """
        return self._records.remove(lora_id, caller)

    def pin(self, record: LoraRecord) -> Adapter:
        """The version that a new job gets.

        A file on the server is looked at each time and pinned anew once it changed; all else
        keeps its version until it is registered again, or its entry in `lorajobs.toml` changes.
        Raises: RequestError, LoraFetchFailed, StorageUnavailable, StoreUnavailable.
        """
        try:
            return self._pin(record)
        except (RequestError, LoraFetchFailed) as error:
            # Whoever asks reads the error, but not where the operator keeps the adapter.
            shown = without_secrets(record.source)
            _log.warning("adapter %s from %s: %s", record.id, shown, error.detail)
            raise

    def resolve(self, reference: str, base: ModelEntry, weight_name: str | None) -> Adapter:
        """Pins a caller's reference; a hub repository must be tagged and name the base.

        Raises: RequestError, LoraFetchFailed, StorageUnavailable.
        """

        def base_rule(card: Card | None, where: str) -> str | None:
            return card.require(base.names, where) if card else None

        source, key = parse(reference), (reference, weight_name)
        state = None
        if isinstance(source, PathReference):
            state = self._resolver.state(reference, source, weight_name, Trust.CALLER)
            known = self._callers.get(key)
            if known and known.state == state:
                return known.adapter
        found = self._resolver.resolve(reference, source, weight_name, Trust.CALLER, base_rule)
        if state:
            self._callers[key] = found
            if len(self._callers) > REMEMBERED:
                self._callers.popitem(last=False)
        return found.adapter

    def require_fit(self, adapter: Adapter, base: ModelEntry) -> None:
        """Refuses what its header shows to be no adapter for this base.

        Where that cannot be seen without the weights, the worker finds out.
        Raises: LoraRefused.
        """
        self._probe.require_fit(adapter, base)

    def keep(self, sha256: str) -> bool:
        """True if the adapter of this hash is on this machine's disk.

        It then stays for `disk_tier.KEEP_S` seconds, unless a running job needs its room.
        """
        return self._resolver.keep(sha256)

    def ensure(self, adapter: PinnedFile, *, ahead: bool = False) -> Held:
        """Holds an adapter's file on this machine, fetched if it is not here yet; release it.

        One that comes `ahead` of its job lets nothing go that another waiting job needs.
        Raises: LoraFetchFailed, which may pass; LoraInvalidFile, LoraPickle, LoraNotFound,
        LoraTooLarge, HubGated, which do not; NoRoomAhead.
        """
        return self._resolver.ensure(adapter, ahead=ahead)

    def _pin(self, record: LoraRecord) -> Adapter:
        if record.adapter and record.source.startswith(f"{SCHEME}:"):
            return record.adapter
        trust, source = _trust_of(record), parse(record.source)
        if record.adapter and not self._has_changed(record, source, trust):
            return record.adapter
        base = self._catalog.model(record.base)
        resolved = self._resolver.resolve(
            record.id, source, record.weight_name, trust, lambda card, _: _declared(card, base)
        )
        new = _pinned(record, resolved)
        if record.configured:
            self._records.pin(new)
        else:
            # If it was removed or registered anew meanwhile, this job alone keeps the version.
            self._registry.replace(record, new)
        return resolved.adapter

    def _has_changed(self, record: LoraRecord, source: Reference, trust: Trust) -> bool:
        if not isinstance(source, PathReference):
            return False
        return record.state != self._resolver.state(record.id, source, record.weight_name, trust)

    def _known_base(self, name: str) -> ModelEntry:
        base = self._catalog.model(name)
        if base:
            return base
        known = list(self._catalog.models)
        hint = f"; did you mean {n[0]}?" if (n := nearest(name, known)) else ""
        detail = f"there is no base model {name!r}{hint}; known are {', '.join(known)}"
        raise UnknownModel(detail, FieldError("/base", detail))

    def _base_of(self, card: Card | None, where: str) -> ModelEntry:
        """The one configured model that the card names."""
        if card is None:
            detail = f"{where} does not say which base model it belongs to; give `base`"
            raise ValidationFailed(detail, FieldError("/base", detail))
        models = self._catalog.models.values()
        card.require(frozenset().union(*(model.names for model in models)), where)
        fits = [m for m in models if card.named(m.own_names)]
        fits = fits or [m for m in models if card.named(m.names)]
        if len(fits) == 1:
            return fits[0]
        detail = f"{where} fits {', '.join(m.id for m in fits)}; give one of them as `base`"
        raise LoraBaseMismatch(detail, FieldError("/base", detail))


def _drafted(
    entry: LoraEntry, source: str, base: ModelEntry, caller: Caller, visibility: Visibility
) -> LoraRecord:
    return LoraRecord(
        id=entry.id,
        source=source,
        base=base.id,
        weight_name=entry.weight_name,
        scale=entry.scale,
        trigger_words=entry.trigger_words,
        license=entry.license,
        created_ms=int(time.time() * 1000),
        owner=caller.owner,
        visibility=visibility,
    )


def _trust_of(record: LoraRecord) -> Trust:
    if record.configured:
        return Trust.CONFIGURED
    return Trust.REGISTERED if record.adapter and record.adapter.trusted else Trust.OWNED


def _pinned(record: LoraRecord, resolved: Resolved) -> LoraRecord:
    card, embeddings = resolved.card, resolved.adapter.embeddings
    told = card.trigger_words if card else ()
    if embeddings and not told:
        told = ("".join(embeddings.tokens),)
    return record.model_copy(
        update={
            "adapter": resolved.adapter,
            "state": resolved.state,
            "trigger_words": record.trigger_words or told,
            "license": record.license or (card.license if card else None),
        }
    )


def _declared(card: Card | None, base: ModelEntry | None) -> str | None:
    """What the card says of the base: the operator's word for it counts, the card may differ."""
    if card is None or not card.bases:
        return None
    return (base and card.named(base.names)) or card.bases[0]
