"""Every error as an answer: a problem document (RFC 9457), or what a surface makes of it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from flask import Blueprint, Flask, Response, json, request
from werkzeug.exceptions import HTTPException

from lorajobs.access_errors import RateLimited
from lorajobs.errors import FieldError, LoraJobsError
from web.deps import deps

_log = logging.getLogger(__name__)

#: Codes of the errors that HTTP itself knows; the others are those of `lorajobs.errors`.
HTTP_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    503: "not_ready",
}
#: Seconds after which a client may try again what failed for a moment.
RETRY_AFTER_S = 2


class Fault(NamedTuple):
    """What an answer says of an error, whatever its shape."""

    status: int
    code: str
    title: str
    detail: str
    retryable: bool = False
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def text(self) -> str:
        """All that is wrong in one text, a field by a name such as `parameters.width`."""
        told = (f"{named(e.pointer)}: {e.detail}" if e.pointer else e.detail for e in self.errors)
        return "; ".join(told) or self.detail


def named(pointer: str) -> str:
    """A JSON pointer in the words of those who know none: `loras.0.id` for `/loras/0/id`."""
    return pointer.removeprefix("/").replace("/", ".").replace("~1", "/").replace("~0", "~")


def problem(fault: Fault, **more: object) -> Response:
    """A problem document."""
    body = {
        "type": f"docs/troubleshooting.md#{fault.code}",
        "title": fault.title,
        "status": fault.status,
        "detail": fault.detail,
        "instance": quote(request.path),
        "code": fault.code,
        "retryable": fault.retryable,
        "errors": [error._asdict() for error in fault.errors],
        **more,
    }
    return Response(json.dumps(body), fault.status, content_type="application/problem+json")


def register(pages: Flask | Blueprint, shape: Callable[[Fault], Response] = problem) -> None:
    """Gives every error of these pages this shape; one that may pass by itself says when."""

    def answer(error: Exception) -> Response:
        fault = _fault_of(error)
        response = shape(fault)
        if fault.retryable:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        response.headers.update(fault.headers)
        return response

    pages.register_error_handler(Exception, answer)


def _fault_of(error: Exception) -> Fault:
    if isinstance(error, LoraJobsError):
        return _ours(error)
    if isinstance(error, HTTPException):
        return _https(error)
    _log.exception("%s %s failed", request.method, request.path, exc_info=error)
    detail = "the server failed to answer; its log has the reason"
    return Fault(500, LoraJobsError.code, LoraJobsError.title, detail)


def status_of(error: LoraJobsError | type[LoraJobsError]) -> int:
    """The HTTP status of an error.

    What failed for a moment while a request was served (an adapter's source, the storage) is
    not the server's own fault, whatever its class says for a worker.
    """
    return 503 if error.retryable and error.status == 500 else error.status


def code_of(status: int) -> str:
    """The code of an error that HTTP itself knows."""
    return HTTP_CODES.get(status, "internal" if status >= 500 else "bad_request")


def _ours(error: LoraJobsError) -> Fault:
    status = status_of(error)
    if status >= 500:
        _log.error("%s %s: %s", request.method, request.path, error.detail)
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_s)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="lorajobs"'
    return Fault(
        status, error.code, error.title, error.detail, error.retryable, error.errors, headers
    )


def _https(error: HTTPException) -> Fault:
    status = error.code or 500
    title = HTTPStatus(status).phrase
    own = ("Content-Type", "Content-Length")
    headers = {name: value for name, value in error.get_headers() if name not in own}
    detail = _detail(status, error.description or title)
    return Fault(status, code_of(status), title, detail, headers=headers)


def _detail(status: int, description: str) -> str:
    if status == 404 and request.url_rule is None:
        return f"nothing is at {request.path}; the jobs are at /v1/jobs"
    if status == 405:
        return f"{request.path} does not take {request.method}"
    if status == 413:
        most = deps().settings.max_body_bytes
        return f"the body may have at most {most:,} bytes (LORAJOBS_MAX_BODY_BYTES)"
    return description
