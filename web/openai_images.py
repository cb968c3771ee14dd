"""OpenAI's image API: `POST /v1/images/generations` and `/edits`, answered with the pictures.

`/v1/models` stays ours: a client's `models.list()` does not work. See `docs/compatibility.md`.
"""

import base64
from typing import Literal, Self

from flask import Blueprint, Response, jsonify
from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from lorajobs.document import without_secrets
from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.field_errors import ALLOWED, blamed
from lorajobs.jobs import Job
from lorajobs.request import Recipe
from web.body import json_body
from web.caller import caller
from web.deps import deps
from web.errors import register
from web.names import model_named
from web.openai_errors import openai_error
from web.picture_form import read_form
from web.pictures import made, pictures_of
from web.query import no_query
from web.sizes import SIZE, sides
from web.translation import Translation
from web.vllm_omni_loras import LoraObject, named_loras

#: The client's names of one picture, alone and as one of several.
_PICTURES = ("image", "image[]")
#: Of metadata values, which hold it.
_USER_MAX = 512
_ONLY = "only {}: the service has no such choice"

openai_images = Blueprint("openai_images", __name__, url_prefix="/v1/images")
openai_images.before_request(no_query)
register(openai_images, openai_error)


class ImagesRequest(Recipe):
    """The body; what OpenAI does not have, its client sends by `extra_body`."""

    prompt: str = Field(max_length=10_000, description="a string of at most 10,000 characters")
    model: str | None = Field(
        None, min_length=1, max_length=128, description="the id of a base model or of an adapter"
    )
    n: int | None = Field(None, ge=1, le=8, description="an integer from 1 to 8")
    size: str | None = Field(
        None, pattern=f"^(auto|{SIZE})$", description='`auto` or a size such as "512x768"'
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="`b64_json` or `url`"
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description="`png`, `jpeg` or `webp`"
    )
    output_compression: int | None = Field(
        None, ge=1, le=100, description="an integer from 1 to 100, the quality of JPEG and WebP"
    )
    lora: JsonValue = Field(
        None, description="an object `{name, path, scale, id}`, or an array of such"
    )
    user: str | None = Field(None, max_length=_USER_MAX, description="a string")
    safety_identifier: str | None = Field(None, max_length=_USER_MAX, description="a string")
    quality: Literal["auto", "standard"] | None = Field(
        None, description="`auto` or `standard`: `num_inference_steps` decides"
    )
    background: Literal["auto", "opaque"] | None = Field(None, description="`auto` or `opaque`")
    moderation: Literal["auto"] | None = Field(None, description=_ONLY.format("`auto`"))
    stream: Literal[False] | None = Field(None, description=_ONLY.format("`false`"))
    partial_images: Literal[0] | None = Field(None, description=_ONLY.format("0"))

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.size and (self.width or self.height):
            raise PydanticCustomError(ALLOWED, "give either `size`, or `width` and `height`")
        return self


@openai_images.post("/generations")
def generate() -> Response:
    """Makes pictures and answers with them."""
    return _made(ImagesRequest.parse(json_body()))


@openai_images.post("/edits")
def edit() -> Response:
    """Makes pictures that start from the one that is sent, and answers with them."""
    form = read_form(ImagesRequest, {"lora": LoraObject}, _PICTURES)
    asked = ImagesRequest.parse(form.body)
    if asked.image is not None:
        raise ValidationFailed("", FieldError("/image", "give it once, as a file"))
    with blamed("/image"):
        image = deps().images.upload(form.picture, caller().owner)
    return _made(asked.model_copy(update={"image": image.id}))


def _made(asked: ImagesRequest) -> Response:
    translation = _translated(asked)
    with translation.spoken():
        job = made(translation.request())
    spec = job.spec
    return jsonify(
        created=(job.completed_ms or 0) // 1000,
        data=_urls(job) if asked.response_format == "url" else _files(job),
        output_format=spec.output.format,
        size=f"{spec.width}x{spec.height}",
        # What OpenAI's API does not have: the client shows it as it is.
        id=job.id,
        seed=spec.seed,
        applied_loras=[
            {"id": without_secrets(lora.id), "scale": lora.scale, "sha256": lora.sha256}
            for lora in job.applied_loras
        ],
        warnings=[warning.model_dump() for warning in job.warnings],
        withheld=len(job.outputs) - len(job.pictures),
    )


def _translated(asked: ImagesRequest) -> Translation:
    job = Translation()
    job.put("model", model_named(asked.model), "/model")
    job.put("prompt", asked.prompt, "/prompt")
    for name in Recipe.model_fields:
        if name != "loras":
            job.put(name, getattr(asked, name), f"/{name}")
    for side, pixels in sides(asked.size).items() if asked.size not in (None, "auto") else ():
        job.put(side, pixels, "/size")
    job.put("num_images", asked.n, "/n")
    output = {"format": asked.output_format, "quality": asked.output_compression}
    job.put("output", {k: v for k, v in output.items() if v is not None}, "/output_format")
    names = {"user": asked.user, "safety_identifier": asked.safety_identifier}
    job.put("metadata", {name: v for name, v in names.items() if v is not None} or None, "/user")
    for lora in named_loras(asked.lora, "/lora") if asked.lora is not None else ():
        lora.put(job)
    for index, named in enumerate(asked.loras or ()):
        job.put_lora(named.model_dump(), f"/loras/{index}")
    return job


def _urls(job: Job) -> list[dict[str, object]]:
    objects = deps().objects
    return [{"url": objects.url(output.key).url} for output in job.pictures]


def _files(job: Job) -> list[dict[str, object]]:
    return [{"b64_json": base64.b64encode(p.data).decode()} for p in pictures_of(job)]
