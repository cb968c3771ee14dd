"""vLLM-Omni's chat completions: a diffusion model answers a message with pictures.

Its clients write what to make at the top, as OpenAI's SDK does, or in `extra_body` or
`sampling_params`; nothing may stand twice. Adapters go by `lora_request`, or `lora`.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, cast

from flask import Blueprint, Response, jsonify
from pydantic import Field, JsonValue

from lorajobs.body import Body
from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.jobs import Job
from lorajobs.request import Recipe
from web.body import json_body
from web.errors import named, register
from web.names import model_named
from web.openai_errors import openai_error
from web.pictures import Picture, made, pictures_of
from web.query import no_query
from web.sizes import SIZE, sides
from web.translation import Translation
from web.vllm_omni_loras import NamedLora, named_loras, told

vllm_omni = Blueprint("vllm_omni", __name__)
vllm_omni.before_request(no_query)
register(vllm_omni, openai_error)

_A_LORA = "an object `{name, path, scale, id}`, or an array of such"
#: Their fields that are ours under another name.
_OURS = {
    "n": "num_images",
    "num_outputs_per_prompt": "num_images",
    "true_cfg_scale": "guidance_scale",
    "lora": "loras",
    "lora_request": "loras",
}


class Sampling(Recipe):
    """What to make, wherever it stands in the body."""

    size: str | None = Field(None, pattern=f"^{SIZE}$", description="a text such as `1024x1024`")
    true_cfg_scale: float | None = Field(None, ge=0, description="a number not below 0")
    num_outputs_per_prompt: int | None = Field(
        None, ge=1, le=8, description="an integer from 1 to 8"
    )
    lora: JsonValue = Field(None, description=_A_LORA)
    lora_request: JsonValue = Field(None, description=_A_LORA)


#: All that may be asked for, at the top or deeper.
_WISHES = {*Sampling.model_fields, "n"}


class Message(Body):
    """What the user says; a diffusion model has heard nothing before."""

    role: Literal["user"] = Field(description="`user`")
    content: JsonValue = Field(description="a text, or an array of `{type, text}`")


class ChatRequest(Sampling):
    """The body of `POST /v1/chat/completions`."""

    messages: tuple[Message, ...] = Field(
        min_length=1, max_length=64, description="an array of 1 to 64 objects `{role, content}`"
    )
    model: str | None = Field(
        None, min_length=1, max_length=128, description="the id of a base model or of an adapter"
    )
    n: int | None = Field(None, ge=1, le=8, description="an integer from 1 to 8")
    stream: Literal[False] | None = Field(None, description="`false`: pictures are not streamed")
    modalities: tuple[Literal["image"], ...] | None = Field(
        None, min_length=1, max_length=1, description='`["image"]`'
    )
    extra_body: Sampling | None = Field(None, description="an object of further fields")
    sampling_params: Sampling | None = Field(None, description="an object of further fields")


class _Wish(NamedTuple):
    """One thing that is asked for: a field of ours, and where it stands."""

    field: str
    value: object
    where: str


@vllm_omni.post("/v1/chat/completions")
def complete() -> Response:
    """Answers a message with pictures, for vLLM-Omni's clients."""
    asked = ChatRequest.parse(json_body())
    translation, loras = _translated(asked)
    with translation.spoken():
        job = made(translation.request())
    return jsonify(_completion(job, pictures_of(job), loras))


def _translated(asked: ChatRequest) -> tuple[Translation, list[NamedLora]]:
    translation, loras = Translation(), list[NamedLora]()
    translation.put("model", model_named(asked.model), "/model")
    translation.put("prompt", " ".join(_texts(asked.messages)), "/messages")
    for wish in _once(_wishes(asked)):
        if wish.field != "loras":
            translation.put(wish.field, wish.value, wish.where)
        elif wish.where.endswith("/loras"):
            _put_native(translation, wish)
        else:
            loras = list(named_loras(wish.value, wish.where))
    for lora in loras:
        lora.put(translation)
    return translation, loras


def _put_native(translation: Translation, wish: _Wish) -> None:
    for index, lora in enumerate(cast(list[dict[str, object]], wish.value)):
        translation.put_lora(lora, f"{wish.where}/{index}")


def _texts(messages: tuple[Message, ...]) -> Iterator[str]:
    for index, message in enumerate(messages):
        where = f"/messages/{index}/content"
        content = message.content
        for at, part in enumerate(content) if isinstance(content, list) else ():
            yield _text(part, f"{where}/{at}")
        if isinstance(content, str):
            yield content
        elif not isinstance(content, list):
            problem = "give a text, or an array of `{type, text}`"
            raise ValidationFailed("", FieldError(where, problem))


def _text(part: JsonValue, where: str) -> str:
    match part:
        case {"type": "text", "text": str(text), **others} if not others:
            return text
    raise ValidationFailed("", FieldError(where, 'give `{"type": "text", "text": …}`'))


def _wishes(asked: ChatRequest) -> Iterator[_Wish]:
    yield from _wishes_in(asked, "")
    if asked.extra_body:
        yield from _wishes_in(asked.extra_body, "/extra_body")
    if asked.sampling_params:
        yield from _wishes_in(asked.sampling_params, "/sampling_params")


def _wishes_in(holder: Sampling, where: str) -> Iterator[_Wish]:
    given = holder.model_dump(mode="json", include=_WISHES, exclude_none=True)
    if size := given.pop("size", None):
        for side, pixels in sides(size).items():
            yield _Wish(side, pixels, f"{where}/size")
    for name, value in given.items():
        yield _Wish(_OURS.get(name, name), value, f"{where}/{name}")


def _once(wishes: Iterator[_Wish]) -> Iterator[_Wish]:
    """The wishes as they are.

    Raises: ValidationFailed if two say the same, of which one could only be ignored.
    """
    first: dict[str, str] = {}
    for wish in wishes:
        earlier = first.setdefault(wish.field, wish.where)
        if earlier != wish.where:
            problem = f"says the same as `{named(earlier)}`; give one of them"
            raise ValidationFailed("", FieldError(wish.where, problem))
        yield wish


def _completion(job: Job, pictures: list[Picture], loras: list[NamedLora]) -> Mapping[str, object]:
    parts = [{"type": "image_url", "image_url": {"url": _data_url(one)}} for one in pictures]
    return {
        "id": f"chatcmpl-{job.id}",
        "object": "chat.completion",
        "created": job.created_ms // 1000,
        "model": job.spec.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": parts},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        # Beyond their contract: what the pictures were made with.
        "lora_requests": [told(one, loras) for one in job.applied_loras],
        "warnings": [warning.model_dump() for warning in job.warnings],
    }


def _data_url(picture: Picture) -> str:
    data = base64.b64encode(picture.data).decode()
    return f"data:{picture.output.content_type};base64,{data}"
