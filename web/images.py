"""`/v1/images`: pictures that are uploaded for jobs to start from."""

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import UnsupportedMediaType

from lorajobs.document import timestamp
from lorajobs.field_errors import shown
from lorajobs.image_errors import ImageTooLarge, NoSuchImage
from lorajobs.source_picture import CONTENT_TYPES
from lorajobs.uploaded_images import UploadedImage
from web.caller import caller
from web.deps import deps, public_url
from web.query import no_query

_TYPES = tuple(dict.fromkeys(CONTENT_TYPES.values()))

images = Blueprint("images", __name__, url_prefix="/v1/images")
images.before_request(no_query)


@images.post("")
def upload() -> Response:
    """Keeps the picture that is sent, for a time, for jobs to start from."""
    if request.mimetype not in _TYPES:
        raise UnsupportedMediaType(f"send the file itself, as {', '.join(_TYPES)}")
    most = deps().settings.image_max_bytes
    if (request.content_length or 0) > most:
        raise ImageTooLarge(f"the file has {request.content_length} bytes, allowed are {most}")
    # One byte more than allowed: of a chunked body Werkzeug silently keeps what the limit allows.
    request.max_content_length = most + 1
    image = deps().images.upload(request.get_data(cache=False), caller().owner)
    response = jsonify(_document(image))
    response.status_code = 201
    response.location = f"{public_url()}/v1/images/{image.id}"
    return response


@images.get("/<image_id>")
def show(image_id: str) -> Response:
    """Shows what is known of an uploaded picture."""
    return jsonify(_document(_own(image_id)))


@images.delete("/<image_id>")
def remove(image_id: str) -> Response:
    """Erases an uploaded picture; jobs that were submitted with it keep theirs."""
    deps().images.remove(_own(image_id))
    return Response(status=204)


def _own(image_id: str) -> UploadedImage:
    image = deps().images.find(image_id, caller().owner)
    if image is None:
        raise NoSuchImage(f"no picture is kept as {shown(image_id)}")
    return image


def _document(image: UploadedImage) -> dict[str, object]:
    return {
        "id": image.id,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "bytes": image.bytes,
        "content_type": image.content_type,
        "expires_at": timestamp(image.expires_ms),
    }
