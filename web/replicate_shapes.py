"""What Replicate's clients send, as strict models, and how it is said as a job."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lorajobs.body import Body
from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.field_errors import ALLOWED
from lorajobs.prediction import OWNER, RENAMED
from lorajobs.queries import Query
from lorajobs.request import URL_MAX, Recipe
from lorajobs.spec import ENDS, WebhookEvent
from web.deps import deps
from web.names import lora_named, model_named
from web.replicate_files import image_named
from web.translation import Translation

FilteredEvent = Literal["start", "output", "logs", "completed"]

#: What each event of Replicate's is here: pictures come with the success, logs with the progress.
EVENTS: Mapping[FilteredEvent, Sequence[WebhookEvent]] = {
    "start": ("started",),
    "output": ("succeeded",),
    "logs": ("progress",),
    "completed": ENDS,
}
_SCALE = "a number from -5 to 5"
_WEIGHTS = (
    "the id of a registered adapter, `owner/name[/file.safetensors]` on the hub, or a reference "
    "such as `https://…`"
)
#: Fields of the input that say the same.
_SAME = (("guidance", "guidance_scale"), ("prompt_strength", "strength"))
_WEIGHTS_AND_SCALE = (("lora_weights", "lora_scale"), ("extra_lora", "extra_lora_scale"))
#: Those that a job has too.
_JOBS = ("prompt", "num_outputs", *(name for name in Recipe.model_fields if name != "loras"))
_HUB = re.compile(
    r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)?"
    r"(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:/(?:resolve|blob|tree)/(?P<revision>[^/]+))?"
    r"(?:/(?P<file>[^?]+\.safetensors))?(?:\?download=true)?",
    re.ASCII,
)


class PredictionInput(Recipe):
    """The `input` of a prediction, as people send it to the LoRA models there."""

    prompt: str = Field(max_length=10_000, description="a string of at most 10,000 characters")
    num_outputs: int | None = Field(None, ge=1, le=8, description="an integer from 1 to 8")
    guidance: float | None = Field(None, ge=0, description="the same as `guidance_scale`")
    prompt_strength: float | None = Field(None, gt=0, le=1, description="the same as `strength`")
    output_format: Literal["png", "jpg", "jpeg", "webp"] | None = Field(
        None, description="`png`, `jpg` or `webp`"
    )
    output_quality: int | None = Field(None, ge=1, le=100, description="an integer from 1 to 100")
    lora_weights: str | None = Field(None, min_length=1, max_length=URL_MAX, description=_WEIGHTS)
    lora_scale: float | None = Field(None, ge=-5, le=5, description=_SCALE)
    extra_lora: str | None = Field(None, min_length=1, max_length=URL_MAX, description=_WEIGHTS)
    extra_lora_scale: float | None = Field(None, ge=-5, le=5, description=_SCALE)

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for one, other in _SAME:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise PydanticCustomError(ALLOWED, f"give either `{one}` or `{other}`")
        if self.extra_lora_scale is not None and self.extra_lora is None:
            raise PydanticCustomError(ALLOWED, "give `extra_lora_scale` only with `extra_lora`")
        return self


class ModelPrediction(Body):
    """The body of `POST /v1/models/{owner}/{name}/predictions`."""

    input: PredictionInput = Field(description="an object with a `prompt`")
    webhook: str | None = Field(None, max_length=URL_MAX, description="an http(s) URL")
    webhook_events_filter: Annotated[tuple[FilteredEvent, ...], Field(min_length=1)] | None = Field(
        None, description="an array of " + ", ".join(f"`{event}`" for event in EVENTS)
    )
    stream: bool | None = Field(None, description="true or false; `urls.stream` is always there")

    @model_validator(mode="after")
    def _filter_of_a_webhook(self) -> Self:
        if self.webhook_events_filter and self.webhook is None:
            raise PydanticCustomError(ALLOWED, "give `webhook_events_filter` only with `webhook`")
        return self


class VersionPrediction(ModelPrediction):
    """The body of `POST /v1/predictions`."""

    version: str = Field(
        min_length=1,
        max_length=256,
        description="the id of a base model or adapter, or `owner/name[:version]`",
    )


class PredictionsQuery(Query):
    """The query of `GET /v1/predictions`."""

    cursor: str | None = Field(
        None, min_length=1, max_length=512, description="that in the `next` of the page before"
    )


def name_of(reference: str) -> str:
    """The base's or adapter's own id of `owner/name`, or the text as it is.

    What has no slash in its id stands under the owner `lorajobs`; a base also under its repository.
    """
    name = model_named(reference.removeprefix(f"{OWNER}/"))
    entry = deps().catalog.model(name)
    return entry.id if entry else name


def translated(model: str, asked: ModelPrediction, *, is_adapter: bool) -> Translation:
    """The prediction as a job on the base or adapter `model`.

    Raises: ValidationFailed.
    """
    job, given = Translation(), asked.input
    job.put("model", model, "/version")
    given = given.model_copy(update={"image": image_named(given.image)})
    for name in _JOBS:
        job.put(RENAMED.get(name, name), getattr(given, name), f"/input/{name}")
    for one, other in _SAME:
        job.put(other, getattr(given, one), f"/input/{one}")
    _put_output(job, given)
    _put_loras(job, given, model if is_adapter else None)
    job.put("webhook", _webhook(asked), "/webhook", url="/webhook")
    return job


def _webhook(asked: ModelPrediction) -> dict[str, object] | None:
    if asked.webhook is None:
        return None
    told: dict[str, object] = {"url": asked.webhook, "shape": "prediction"}
    if asked.webhook_events_filter:
        events = [ours for event in asked.webhook_events_filter for ours in EVENTS[event]]
        told["events"] = list(dict.fromkeys(events))
    return told


def _put_output(job: Translation, given: PredictionInput) -> None:
    suffix = given.output_format
    output = {"format": "jpeg" if suffix == "jpg" else suffix, "quality": given.output_quality}
    job.put("output", {name: v for name, v in output.items() if v is not None} or None, "/input")


def _put_loras(job: Translation, given: PredictionInput, named: str | None) -> None:
    """The adapters in order; `named` is the one that the prediction runs as its model."""
    if given.lora_scale is not None and given.lora_weights is None:
        if named is None:
            problem = "give it with `lora_weights`, or with a model that is an adapter"
            raise ValidationFailed("", FieldError("/input/lora_scale", problem))
        # As with the adapters that are trained there.
        job.put_lora({"id": named, "scale": given.lora_scale}, "/input/lora_scale")
    for field, scale_field in _WEIGHTS_AND_SCALE:
        if weights := getattr(given, field):
            where = f"/input/{field}"
            lora = _lora(weights) | {"scale": getattr(given, scale_field)}
            names = dict.fromkeys(lora, where) | {"scale": f"/input/{scale_field}"}
            job.put_lora(lora, where, **names)
    for index, lora_request in enumerate(given.loras or ()):
        job.put_lora(lora_request.model_dump(), f"/input/loras/{index}")


def _lora(weights: str) -> dict[str, object]:
    """An adapter as Replicate's models take one, as a `LoraRequest`."""
    field, value = lora_named(weights.removeprefix(f"{OWNER}/"))
    found = _HUB.fullmatch(weights)
    if field == "id" or found is None:
        return {field: value}
    revision = f"@{found['revision']}" if found["revision"] else ""
    return {"path": f"hf:{found['repo']}{revision}", "weight_name": found["file"]}
