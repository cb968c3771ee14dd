"""The body of a request, before anybody reads its JSON."""

from flask import request
from werkzeug.exceptions import UnsupportedMediaType


def json_body() -> bytes:
    """The raw body.

    Raises: UnsupportedMediaType, RequestEntityTooLarge.
    """
    if request.mimetype != "application/json":
        sent = repr(request.mimetype) if request.mimetype else "none"
        raise UnsupportedMediaType(
            f"send the body with the Content-Type application/json, not {sent}"
        )
    return request.get_data(cache=False)
