"""Hugging Face's inference API: the answer to a prompt is the picture itself.

As `huggingface_hub.InferenceClient(base_url=…)` asks for it, and as `api-inference-community`
answered: JSON under any Content-Type, the adapter in the header `lora`, the format by `Accept`.
"""

from flask import Blueprint, Response, json, request
from pydantic import Field
from werkzeug.exceptions import NotAcceptable

from lorajobs.body import Body
from lorajobs.errors import FieldError, UnknownModel, ValidationFailed
from lorajobs.request import Recipe
from web.body import any_body
from web.errors import RETRY_AFTER_S, Fault, register
from web.names import lora_named, model_named
from web.pictures import made, pictures_of
from web.query import no_query
from web.translation import Translation

#: By media type, the first for a client that takes any.
FORMATS = {"image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp"}
HEADER = "lora"

huggingface = Blueprint("huggingface", __name__)
huggingface.before_request(no_query)


class TextToImage(Body):
    """The body: a prompt and how to make its picture."""

    inputs: str = Field(description="the prompt, a string of at most 10,000 characters")
    parameters: Recipe | None = Field(
        None, description="an object of `width`, `height`, `num_inference_steps`, …"
    )


@huggingface.post("/")
def default() -> Response:
    """Makes a picture with the default base, for Hugging Face's clients."""
    return _made(None)


@huggingface.post("/models/<path:model>")
def of_model(model: str) -> Response:
    """Makes a picture with a base or an adapter, for Hugging Face's clients."""
    return _made(model)


def _made(model: str | None) -> Response:
    media_type = _accepted()
    asked = TextToImage.parse(any_body())
    translation = _translated(asked, model_named(model), FORMATS[media_type])
    with translation.spoken():
        job = made(translation.request())
    (picture,) = pictures_of(job)
    return Response(picture.data, content_type=picture.output.content_type)


def _accepted() -> str:
    wanted = request.accept_mimetypes
    best = wanted.best_match(FORMATS) if wanted else next(iter(FORMATS))
    if best is None:
        raise NotAcceptable(f"pictures come as {', '.join(FORMATS)}; ask for one by `Accept`")
    return best


def _translated(asked: TextToImage, model: str, picture_format: str) -> Translation:
    translation = Translation()
    translation.put("model", model, "model")
    translation.put("prompt", asked.inputs, "/inputs")
    translation.put("output", {"format": picture_format}, "Accept")
    _put_header(translation)
    recipe = asked.parameters or Recipe()
    for name, value in recipe.model_dump(mode="json", exclude={"loras"}).items():
        translation.put(name, value, f"/parameters/{name}")
    for index, lora in enumerate(recipe.loras or ()):
        translation.put_lora(lora.model_dump(), f"/parameters/loras/{index}")
    return translation


def _put_header(translation: Translation) -> None:
    name = request.headers.get(HEADER)
    if name is None:
        return
    if not name.strip():
        problem = "give a registered adapter's id, or a repository on the hub such as owner/name"
        raise ValidationFailed("", FieldError(HEADER, problem))
    if "," in name and "://" not in name:
        # Also what becomes of the header if it is sent twice.
        problem = "give one adapter, and the others in `parameters.loras`"
        raise ValidationFailed("", FieldError(HEADER, problem))
    field, value = lora_named(name.strip())
    translation.put_lora({field: value}, HEADER, **{field: HEADER})


def _error(fault: Fault) -> Response:
    """`{"error": …}`, with `estimated_time` where trying again later helps."""
    body: dict[str, object] = {"error": fault.text, "error_type": fault.code}
    if fault.status == 503:
        body["estimated_time"] = float(fault.headers.get("Retry-After", RETRY_AFTER_S))
    status = 404 if fault.code == UnknownModel.code else fault.status
    return Response(json.dumps(body), status, content_type="application/json")


register(huggingface, _error)
