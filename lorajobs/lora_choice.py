"""The adapters of one job: found, pinned to bytes and held against the base model."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from lorajobs.adapters.registry import LoraRecord
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.document import without_secrets
from lorajobs.errors import (
    FieldError,
    LoraBaseMismatch,
    LoraNotFound,
    LoraRefused,
    ValidationFailed,
)
from lorajobs.field_errors import blamed, listed, shown
from lorajobs.jobs import JobWarning
from lorajobs.lora_errors import LoraTokenClash
from lorajobs.request import MAX_LORAS, JobRequest, LoraRequest
from lorajobs.spec import Adapter, AdapterUse

#: Below, most adapters do little; above, most break the picture.
USUAL_SCALES = (0.3, 1.5)


class Adapters(Protocol):
    """What planning asks of the adapter library."""

    def find(self, lora_id: str) -> LoraRecord | None:
        """The registered adapter of this id.

        Raises: LoraNotReady.
        """

    def records(self) -> Sequence[LoraRecord]:
        """Every registered adapter."""

    def pin(self, record: LoraRecord) -> Adapter:
        """The present version of a registered adapter.

        Raises: RequestError, LoraFetchFailed.
        """

    def resolve(self, reference: str, base: ModelEntry, weight_name: str | None) -> Adapter:
        """The present version of a caller's reference.

        Raises: RequestError, LoraFetchFailed.
        """

    def require_fit(self, adapter: Adapter, base: ModelEntry) -> None:
        """Refuses what its header shows to be no adapter for this base.

        Raises: LoraRefused.
        """


class Choice(NamedTuple):
    """One adapter of a job, and the field of the request that asks for it."""

    pointer: str
    use: AdapterUse
    #: the base that it declares, for messages
    base: str | None
    #: every name of that base, in lower case; none if it declares none
    names: frozenset[str]


class LoraChoice:
    """Chooses the adapters of jobs from one library."""

    def __init__(self, catalog: Catalog, library: Adapters) -> None:
        self._catalog = catalog
        self._library = library

    def choose(
        self, request: JobRequest, entry: ModelEntry, named: LoraRecord | None
    ) -> tuple[tuple[AdapterUse, ...], Sequence[JobWarning]]:
        """The adapters in order, `named` by the request's `model` in front of them.

        Raises: RequestError with a pointer to the adapter; LoraFetchFailed.
        """
        asked = list(enumerate(request.loras or ()))
        choices = [self._asked(lora, f"/loras/{i}", entry) for i, lora in asked]
        if named and named.id not in (lora.id for _, lora in asked):
            first = self._registered(named, None, "/model")
            if first.use.adapter.sha256 not in (c.use.adapter.sha256 for c in choices):
                choices.insert(0, first)
        _check_distinct(choices)
        if len(choices) > MAX_LORAS:
            problem = f"give at most {MAX_LORAS - 1} adapters besides the one that `model` names"
            raise ValidationFailed("", FieldError("/loras", problem))
        warnings = [w for c in choices for w in (_base_warning(c, entry), _scale_warning(c)) if w]
        skipped = self._unfit(choices, entry, skip=request.on_lora_error == "skip")
        fit = tuple(choice.use for choice in choices if choice.pointer not in skipped)
        return fit, [*warnings, *skipped.values()]

    def _unfit(
        self, choices: Sequence[Choice], entry: ModelEntry, *, skip: bool
    ) -> Mapping[str, JobWarning]:
        """By pointer, the adapters that are left out because the request wants it so.

        Raises: LoraRefused with a pointer, unless it is to be skipped.
        """
        found: dict[str, JobWarning] = {}
        spoken: dict[str, str] = {}
        for choice in choices:
            try:
                with blamed(choice.pointer):
                    self._library.require_fit(choice.use.adapter, entry)
                    _require_own_tokens(choice.use.adapter, spoken)
            except LoraRefused as error:
                if not skip:
                    raise
                found[choice.pointer] = error.as_skipped()
        return found

    def _asked(self, lora: LoraRequest, where: str, entry: ModelEntry) -> Choice:
        if lora.id is not None:
            with blamed(where, "/id"):
                record = self._library.find(lora.id)
            if record is None:
                known = listed(lora.id, [r.id for r in self._library.records()])
                hint = "a reference goes into `path`; " if {":", "/"} & set(lora.id) else ""
                detail = f"no adapter is registered as {shown(lora.id)}; {hint}known are {known}"
                raise LoraNotFound(detail, FieldError(f"{where}/id", detail))
            return self._registered(record, lora.scale, where, "/id")
        with blamed(where, "/path"):
            adapter = self._library.resolve(str(lora.path), entry, lora.weight_name)
        base = _declared(adapter)
        scale = 1.0 if lora.scale is None else lora.scale
        use = AdapterUse(adapter=adapter, scale=scale)
        return Choice(where, use, base, frozenset({base.lower()} if base else ()))

    def _registered(
        self, record: LoraRecord, scale: float | None, where: str, field: str = ""
    ) -> Choice:
        with blamed(where, field):
            adapter = self._library.pin(record)
        use = AdapterUse(adapter=adapter, scale=record.scale if scale is None else scale)
        own = self._catalog.model(record.base)
        names = own.own_names if own else frozenset({record.base.lower()})
        return Choice(where, use, record.base, names)


def _declared(adapter: Adapter) -> str | None:
    # A trainer may have noted a folder of its own machine, which names nothing here.
    of_a_disk = adapter.base is not None and adapter.base.startswith(("/", ".", "~"))
    return None if of_a_disk else adapter.base


def _check_distinct(choices: Sequence[Choice]) -> None:
    first: dict[str, Choice] = {}
    for choice in choices:
        adapter = choice.use.adapter
        earlier = first.setdefault(adapter.sha256, choice)
        if earlier is not choice:
            same = shown(without_secrets(earlier.use.adapter.id))
            detail = f"is the same adapter as {same} (same sha256); give it once, with one scale"
            raise ValidationFailed("", FieldError(choice.pointer, detail))


def _require_own_tokens(adapter: Adapter, spoken: dict[str, str]) -> None:
    """Refuses tokens that an earlier adapter brings, and notes the others in `spoken`."""
    tokens = adapter.embeddings.tokens if adapter.embeddings else ()
    taken = [token for token in tokens if token in spoken]
    if taken:
        raise LoraTokenClash(
            f"{adapter.id} brings the token {taken[0]}, and so does {spoken[taken[0]]}; a prompt "
            "could not tell them apart: use one of the two, or name other tokens in its card"
        )
    spoken.update(dict.fromkeys(tokens, adapter.id))


def _base_warning(choice: Choice, entry: ModelEntry) -> JobWarning | None:
    if not choice.names or choice.names & entry.own_names:
        return None
    made = f"{choice.use.adapter.id} was made for {choice.base}"
    if choice.names & entry.names:
        detail = f"{made}; {entry.id} accepts it as related"
        return JobWarning(code="lora_base_name", detail=detail)
    accepted = ", ".join(f"`{name}`" for name in sorted(entry.names))
    detail = f"{made}; {entry.id} takes adapters of {accepted}"
    raise LoraBaseMismatch(detail, FieldError(choice.pointer, detail))


def _scale_warning(choice: Choice) -> JobWarning | None:
    low, high = USUAL_SCALES
    if low <= choice.use.scale <= high:
        return None
    detail = (
        f"{choice.use.adapter.id} has the scale {choice.use.scale:g}; outside {low}–{high} "
        "adapters tend to do nothing or to break the picture"
    )
    return JobWarning(code="lora_scale", detail=detail)
