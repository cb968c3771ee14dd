"""`PUT /v1/loras/{id}`: an adapter whose file comes with the request."""

import json

from flask import Blueprint, Response, request
from werkzeug.exceptions import UnsupportedMediaType

from lorajobs.adapters.resolver import CONTENT_TYPE
from lorajobs.adapters.upload import Upload
from lorajobs.errors import LoraTooLarge
from lorajobs.queries import UploadQuery
from lorajobs.request import RegisterRequest
from web.deps import deps
from web.loras import registered

uploads = Blueprint("uploads", __name__, url_prefix="/v1/loras")


@uploads.put("/<lora_id>")
def upload(lora_id: str) -> Response:
    """Registers the weight file that is sent, once it is found to be an adapter of its base."""
    query = UploadQuery.parse(request.args.to_dict(flat=False))
    if request.mimetype != CONTENT_TYPE:
        raise UnsupportedMediaType(f"send the .safetensors file itself, as {CONTENT_TYPE}")
    most = deps().settings.lora_max_bytes
    if (request.content_length or 0) > most:
        raise LoraTooLarge(f"the file has {request.content_length} bytes, allowed are {most}")
    # One byte more than allowed: of a chunked body Werkzeug silently keeps what the limit allows.
    request.max_content_length = most + 1
    file = Upload(f"{lora_id}.safetensors", request.stream)
    said = query.model_dump(mode="json", exclude_none=True) | {"id": lora_id, "source": str(file)}
    return registered(RegisterRequest.parse(json.dumps(said).encode()), file)
