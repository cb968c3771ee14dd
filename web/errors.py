"""Every error as a problem document (RFC 9457)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

from flask import Flask, Response, json, request
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


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    retryable: bool = False,
    errors: Sequence[FieldError] = (),
    **more: object,
) -> Response:
    """A problem document; a retryable one says when."""
    body = {
        "type": f"docs/troubleshooting.md#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": quote(request.path),
        "code": code,
        "retryable": retryable,
        "errors": [error._asdict() for error in errors],
        **more,
    }
    response = Response(json.dumps(body), status, content_type="application/problem+json")
    if retryable:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def register(app: Flask) -> None:
    """Makes every error of the application a problem document."""
    app.register_error_handler(LoraJobsError, _ours)
    app.register_error_handler(HTTPException, _https)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: LoraJobsError) -> Response:
    # What failed for a moment while a request was served (an adapter's source, the storage) is
    # not the server's own fault, whatever its class says for a worker.
    status = 503 if error.retryable and error.status == 500 else error.status
    if status >= 500:
        _log.error("%s %s: %s", request.method, request.path, error.detail)
    response = problem(
        status,
        error.code,
        error.title,
        error.detail,
        retryable=error.retryable,
        errors=error.errors,
    )
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_s)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="lorajobs"'
    return response


def _https(error: HTTPException) -> Response:
    status = error.code or 500
    code = HTTP_CODES.get(status, "internal" if status >= 500 else "bad_request")
    title = HTTPStatus(status).phrase
    response = problem(status, code, title, _detail(status, error.description or title))
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _detail(status: int, description: str) -> str:
    if status == 404 and request.url_rule is None:
        return f"nothing is at {request.path}; the jobs are at /v1/jobs"
    if status == 405:
        return f"{request.path} does not take {request.method}"
    if status == 413:
        most = deps().settings.max_body_bytes
        return f"the body may have at most {most:,} bytes (LORAJOBS_MAX_BODY_BYTES)"
    return description


def _unexpected(error: Exception) -> Response:
    _log.exception("%s %s failed", request.method, request.path, exc_info=error)
    detail = "the server failed to answer; its log has the reason"
    return problem(500, LoraJobsError.code, LoraJobsError.title, detail)
