"""`/files`: the local folder store behind signed URLs: pictures, and adapters that are sent."""

from pathlib import PurePosixPath

from flask import Blueprint, Response, request, send_file
from werkzeug.exceptions import Forbidden, NotFound

from lorajobs.storage.folder import Announced, FolderStore
from web.deps import deps

_TYPES = {
    ".png": "image/png",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
_OTHER = "application/octet-stream"

files = Blueprint("files", __name__, url_prefix="/files")


@files.get("/<path:key>")
def show(key: str) -> Response:
    """Serves an object to anybody whose URL is signed and has not expired."""
    expires, signature = (request.args.get(name, "") for name in ("expires", "signature"))
    try:
        path = _store().open_signed(key, expires, signature)
    except PermissionError as error:
        again = "GET the job again for a fresh URL"
        raise Forbidden(f"the URL is not valid: {error.strerror}; {again}") from error
    except FileNotFoundError as error:
        raise NotFound("there is no such object; it may have been erased") from error
    suffix = PurePosixPath(key).suffix
    response = send_file(path, _TYPES.get(suffix, _OTHER), conditional=True)
    response.headers["Content-Disposition"] = "inline"
    response.headers["Cache-Control"] = "private, no-store"
    return response


@files.put("/<path:key>")
def receive(key: str) -> Response:
    """Takes the file that was announced, from anybody whose URL is signed and good still."""
    names = ("bytes", "sha256", "expires", "signature")
    size, sha256, expires, signature = (request.args.get(name, "") for name in names)
    try:
        _store().receive(key, Announced(size, sha256, expires), signature, request.stream)
    except PermissionError as error:
        again = "announce the file again for a fresh URL"
        raise Forbidden(f"the URL is not valid: {error.strerror}; {again}") from error
    return Response(status=200)


def _store() -> FolderStore:
    objects = deps().objects
    if not isinstance(objects, FolderStore):
        raise NotFound("the pictures are not kept here; GET the job for their URLs")
    return objects
