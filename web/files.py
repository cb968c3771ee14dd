"""`/files`: the pictures of the local folder store, behind signed URLs."""

from pathlib import PurePosixPath

from flask import Blueprint, Response, request, send_file
from werkzeug.exceptions import Forbidden, NotFound

from lorajobs.storage.folder import FolderStore

_TYPES = {
    ".png": "image/png",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
_OTHER = "application/octet-stream"


def files_of(store: FolderStore) -> Blueprint:
    """The pages that serve one folder."""
    files = Blueprint("files", __name__, url_prefix="/files")

    @files.get("/<path:key>")
    def show(key: str) -> Response:
        """Serves an object to anybody whose URL is signed and has not expired."""
        expires, signature = (request.args.get(name, "") for name in ("expires", "signature"))
        try:
            path = store.open_signed(key, expires, signature)
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

    return files
