"""An adapter whose file comes with the request: `PUT /v1/loras/{id}`, or a form."""

import json
import tempfile
from contextlib import ExitStack
from typing import IO

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.formparser import FormDataParser

from lorajobs.adapters.upload import Upload, sent
from lorajobs.errors import FieldError, LoraTooLarge, ValidationFailed
from lorajobs.queries import UploadForm, UploadQuery
from lorajobs.request import RegisterRequest
from lorajobs.storage.base import UPLOAD_TYPE, Body
from web.deps import deps
from web.registration import registered

FORM = "multipart/form-data"
#: What a form may have beside its file. Werkzeug counts a file's chunks of 64 KiB too while it
#: looks for their end, so with as little as one of them real files are refused.
_FIELDS_BYTES = 1 << 19
_PARTS = 64

uploads = Blueprint("uploads", __name__, url_prefix="/v1/loras")


@uploads.put("/<lora_id>")
def upload(lora_id: str) -> Response:
    """Registers the weight file that is sent, once it is found to be an adapter of its base."""
    query = UploadQuery.parse(request.args.to_dict(flat=False))
    if request.mimetype != UPLOAD_TYPE:
        raise UnsupportedMediaType(f"send the .safetensors file itself, as {UPLOAD_TYPE}")
    _limit(0)
    return _registered(lora_id, query, request.stream)


def from_form() -> Response:
    """Registers the field `file` of a form, kept on the disk until it is looked at."""
    most = _limit(_FIELDS_BYTES)
    folder = deps().settings.data_dir.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:

        def on_disk(*_: object, **__: object) -> IO[bytes]:
            return stack.enter_context(tempfile.TemporaryFile(dir=folder))

        parser = FormDataParser(on_disk, _FIELDS_BYTES, silent=False, max_form_parts=_PARTS)
        try:
            _, fields, files = parser.parse(
                request.stream, FORM, request.content_length, request.mimetype_params
            )
        except RequestEntityTooLarge as error:
            allowed = f"a file of {most} bytes, and {_FIELDS_BYTES:,} bytes of other fields"
            raise LoraTooLarge(f"the form has more than {allowed}") from error
        except ValueError as error:
            raise BadRequest(f"the form cannot be read: {error}") from error
        form = UploadForm.parse(fields.to_dict(flat=False))
        if files.keys() != {"file"} or len(files.getlist("file")) != 1:
            problem = "send the .safetensors file as the one field `file` with a file name"
            raise ValidationFailed("", FieldError("/file", problem))
        return _registered(form.id, form, files["file"].stream)


def _limit(more: int) -> int:
    """Lets the body be a file as large as allowed, which it returns, and so many bytes more.

    Raises: LoraTooLarge.
    """
    most = deps().settings.lora_max_bytes
    if (request.content_length or 0) > most + more:
        raise LoraTooLarge(f"the file has {request.content_length} bytes, allowed are {most}")
    # One byte more than allowed: of a chunked body Werkzeug silently keeps what the limit allows.
    request.max_content_length = most + more + 1
    return most


def _registered(lora_id: str, said: UploadQuery, body: Body) -> Response:
    file = Upload(f"{lora_id}.safetensors", sent(body))
    fields = said.model_dump(mode="json", exclude_none=True) | {"id": lora_id, "source": str(file)}
    return registered(RegisterRequest.parse(json.dumps(fields).encode()), file)
