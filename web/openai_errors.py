"""Errors as OpenAI's API shows them, for every surface that its clients use."""

from flask import Response, json

from lorajobs.errors import UnknownModel
from web.errors import Fault, named

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def openai_error(fault: Fault) -> Response:
    """`{"error": {…}}`, where a wrong body is 400 and an unknown model 404."""
    status = 404 if fault.code == UnknownModel.code else fault.status
    status = 400 if status == 422 else status
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    param = named(fault.errors[0].pointer) if fault.errors else None
    error = {"message": fault.text, "type": kind, "param": param or None, "code": fault.code}
    return Response(json.dumps({"error": error}), status, content_type="application/json")
