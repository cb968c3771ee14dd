"""Example pictures of `lorajobs.toml`: what a base or an adapter makes."""

from pathlib import Path
from urllib.parse import quote

from flask import Response
from werkzeug.exceptions import NotFound

from lorajobs.catalog import PICTURES
from web.deps import public_url


def example_url(kind: str, name: str) -> str:
    """Where it is shown, of `models` or `loras`."""
    return f"{public_url()}/v1/{kind}/{quote(name)}/example"


def example_picture(path: Path | None) -> Response:
    """The picture that the operator configured.

    Raises: NotFound.
    """
    if path is None:
        raise NotFound("no example picture is configured (`example` in lorajobs.toml)")
    try:
        return Response(path.read_bytes(), content_type=PICTURES[path.suffix.lower()])
    except OSError as error:
        raise NotFound(f"the example picture cannot be read: {error.strerror}") from error
