"""From a request to a spec: routed to a base, checked against its limits, every adapter pinned."""

import secrets
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lorajobs.adapters.registry import LoraRecord
from lorajobs.catalog import Catalog, ModelEntry
from lorajobs.errors import FieldError, UnknownModel, ValidationFailed
from lorajobs.field_errors import blamed, listed, shown
from lorajobs.image_choice import ImageChoice, Sources, choose_image
from lorajobs.jobs import JobWarning
from lorajobs.lora_choice import Adapters, LoraChoice
from lorajobs.request import JobRequest
from lorajobs.spec import JobSpec, OutputFormat, Webhook

#: Random seeds are no longer than those that people note down and other tools accept.
_SEEDS = 2**32


class Plan(NamedTuple):
    """A job that may be submitted: what to make, what the client should know, and where to."""

    spec: JobSpec
    warnings: tuple[JobWarning, ...]
    #: the Celery queue of its base, and the window in which jobs are reordered, microseconds
    queue: str
    window_us: int
    #: the picture that it starts from, as a PNG of its size
    source: bytes | None = None


def plan(
    request: JobRequest,
    catalog: Catalog,
    library: Adapters,
    check_webhook: Callable[[str], object],
    owner: str = "",
    webhook: Webhook | None = None,
    sources: Sources | None = None,
) -> Plan:
    """Makes a spec of a request; `check_webhook` raises UrlNotAllowed for a URL we may not call.

    `webhook` is the owner's, for a request that names none; it was checked when it was set.
    Raises: RequestError with a pointer to each wrong field; LoraFetchFailed, ImageFetchFailed,
    PipelineUnknown, StorageUnavailable, StoreUnavailable.
    """
    entry, named = _route(request.model, catalog, library)
    chosen = choose_image(request, entry, sources)
    spec = _spec(request, entry, chosen)
    errors = list(_outside(spec, entry))
    if errors:
        raise ValidationFailed("", *errors)
    source = chosen.picture.fitted(spec.width, spec.height) if chosen else None
    # A decoded photo is large, and what follows may wait for other servers.
    del chosen
    if spec.webhook:
        with blamed("/webhook/url"):
            check_webhook(spec.webhook.url)
    loras, warnings = LoraChoice(catalog, library).choose(request, entry, named)
    return Plan(
        spec.model_copy(
            update={"loras": loras, "owner": owner, "webhook": spec.webhook or webhook}
        ),
        (*_quality_warning(request), *warnings),
        entry.queue,
        entry.window_us,
        source,
    )


def _route(name: str, catalog: Catalog, library: Adapters) -> tuple[ModelEntry, LoraRecord | None]:
    """The base to use, and the adapter if it is one that the name stands for."""
    entry = catalog.model(name)
    if entry:
        return entry, None
    bases = catalog.names
    with blamed("/model"):
        record = library.find(name)
    if record is None:
        known = listed(name, [*bases, *(r.id for r in library.records())])
        detail = f"no base model or adapter is called {shown(name)}; known are {known}"
        raise UnknownModel(detail, FieldError("/model", detail))
    entry = catalog.model(record.base)
    if entry is None:
        known = listed(record.base, bases)
        detail = (
            f"{name!r} is an adapter of {record.base!r}, which is not served; known are {known}"
        )
        raise UnknownModel(detail, FieldError("/model", detail))
    return entry, record


def _spec(request: JobRequest, entry: ModelEntry, chosen: ImageChoice | None) -> JobSpec:
    """The request with every default filled in, without its adapters."""
    own = {"model", "loras", "output", "webhook", "image", "strength"}
    given = request.model_dump(exclude_none=True, exclude=own)
    output = request.output.model_dump(exclude_none=True) if request.output else {}
    filled = {
        "num_images": 1,
        "seed": secrets.randbelow(_SEEDS),
        "scheduler": entry.schedulers[0] if entry.schedulers else None,
        "metadata": {},
        **entry.defaults.model_dump(exclude={"strength"}),
        **given,
        **(chosen.fields if chosen else {}),
    }
    return JobSpec(
        model=entry.id,
        loras=(),
        output=OutputFormat(**output),
        webhook=_webhook(request),
        **filled,
    )


def _webhook(request: JobRequest) -> Webhook | None:
    asked = request.webhook
    return Webhook(**asked.model_dump(exclude_none=True)) if asked else None


def _outside(spec: JobSpec, entry: ModelEntry) -> Iterator[FieldError]:
    """The fields that this base does not allow, each with what it does."""
    limits = entry.limits
    yield from _wrong_size(spec, entry)
    for field, value, most in (
        ("num_inference_steps", spec.num_inference_steps, limits.max_steps),
        ("guidance_scale", spec.guidance_scale, limits.max_guidance_scale),
        ("num_images", spec.num_images, limits.max_images),
    ):
        if value > most:
            yield FieldError(f"/{field}", f"give at most {most} for {entry.id}, not {shown(value)}")
    if spec.scheduler is not None and spec.scheduler not in entry.schedulers:
        known = listed(spec.scheduler, entry.schedulers)
        problem = f"{entry.id} has no scheduler {shown(spec.scheduler)}; known are {known}"
        yield FieldError("/scheduler", problem)


def _wrong_size(spec: JobSpec, entry: ModelEntry) -> list[FieldError]:
    limits = entry.limits
    low, high, multiple = limits.min_size, limits.max_size, limits.multiple_of
    allowed = f"a multiple of {multiple} from {low} to {high}"
    wrong = [
        FieldError(f"/{side}", f"give {allowed} for {entry.id}, not {shown(size)}")
        for side, size in (("width", spec.width), ("height", spec.height))
        if not low <= size <= high or size % multiple
    ]
    if wrong or spec.width * spec.height <= limits.max_pixels:
        return wrong
    allowed = f"at most {limits.max_pixels:,} pixels (width × height)"
    return [FieldError("/width", f"{entry.id} makes {allowed}; make width or height smaller")]


def _quality_warning(request: JobRequest) -> Iterator[JobWarning]:
    output = request.output
    if output and output.quality is not None and output.format in (None, "png"):
        detail = "`output.quality` has no effect on PNG, which is lossless"
        yield JobWarning(code="quality_unused", detail=detail)
