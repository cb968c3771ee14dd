"""The body of a request, before anybody reads its JSON."""

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from web.deps import deps


def json_body() -> bytes:
    """The raw body of what says that it is JSON.

    Raises: UnsupportedMediaType, RequestEntityTooLarge.
    """
    if request.mimetype != "application/json":
        sent = repr(request.mimetype) if request.mimetype else "none"
        raise UnsupportedMediaType(
            f"send the body with the Content-Type application/json, not {sent}"
        )
    return any_body()


def any_body() -> bytes:
    """The raw body, whatever it says that it is.

    Raises: RequestEntityTooLarge.
    """
    most = deps().settings.max_body_bytes
    # One byte more than allowed: of a chunked body Werkzeug silently keeps what the limit allows.
    request.max_content_length = most + 1
    raw = request.get_data(cache=False)
    if len(raw) > most:
        raise RequestEntityTooLarge
    return raw
