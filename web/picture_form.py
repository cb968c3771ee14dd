"""Forms as other APIs' clients send them: fields that are JSON otherwise, and one picture."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flask import request
from pydantic import BaseModel
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.field_errors import shown
from lorajobs.image_errors import ImageTooLarge
from web.deps import deps

FORM = "multipart/form-data"
#: What a form may have beside its picture. Werkzeug counts a file's chunks of 64 KiB too while it
#: looks for their end, so with as little as one of them real pictures are refused.
_FIELDS_BYTES = 1 << 19
_PARTS = 64
_NESTED = re.compile(r"(\w+)\[(\w+)\]")


class Form(NamedTuple):
    """What was sent."""

    #: the fields, as JSON
    body: bytes
    #: the file
    picture: bytes


def read_form(
    fields: type[BaseModel], nested: Mapping[str, type[BaseModel]], pictures: Sequence[str]
) -> Form:
    """Reads a form whose fields are those of a model.

    `nested` are the models of fields that come in parts, such as `lora[name]`; `pictures` the names
    under which the one picture may come.
    Raises: UnsupportedMediaType, ImageTooLarge, ValidationFailed.
    """
    if request.mimetype != FORM:
        raise UnsupportedMediaType(f"send the body with the Content-Type {FORM}")
    body: dict[str, object] = {}
    parts: dict[str, dict[str, object]] = {}
    for name, texts in _texts().items():
        part = _NESTED.fullmatch(name)
        if part and part[1] in nested:
            value = _value(part[2], texts, nested[part[1]])
            parts.setdefault(part[1], {})[part[2]] = value
        else:
            body[name] = _value(name, texts, fields)
    return Form(json.dumps(body | parts).encode(), _picture(pictures))


def _texts() -> Mapping[str, Sequence[str]]:
    most = deps().settings.image_max_bytes
    # One byte more than allowed: of a chunked body Werkzeug silently keeps what the limit allows.
    request.max_content_length = most + _FIELDS_BYTES + 1
    request.max_form_memory_size, request.max_form_parts = _FIELDS_BYTES, _PARTS
    try:
        return request.form.to_dict(flat=False)
    except RequestEntityTooLarge as error:
        picture = f"a picture of {most:,} bytes (LORAJOBS_IMAGE_MAX_BYTES)"
        allowed = f"{picture} and {_FIELDS_BYTES:,} bytes of other fields"
        raise ImageTooLarge(f"the form has more than {allowed}") from error


def _value(name: str, texts: Sequence[str], model: type[BaseModel]) -> object:
    """What stands in a field: a text, or what its text is as JSON."""
    if len(texts) > 1:
        raise ValidationFailed("", FieldError(f"/{name}", f"give one value, not {len(texts)}"))
    field = model.model_fields.get(name)
    if field is None or field.annotation in (str, str | None):
        return texts[0]
    try:
        value: object = json.loads(texts[0])
    except ValueError:
        return texts[0]
    return value


def _picture(names: Sequence[str]) -> bytes:
    others = [name for name in request.files if name not in names]
    if others:
        problem = f"give one picture as `{names[0]}`, and no {shown(others[0])}"
        raise ValidationFailed("", FieldError(f"/{others[0]}", problem))
    files = [file for name in names for file in request.files.getlist(name)]
    if len(files) != 1:
        problem = f"give one picture as a file, not {len(files)}"
        raise ValidationFailed("", FieldError(f"/{names[0]}", problem))
    return files[0].stream.read()
