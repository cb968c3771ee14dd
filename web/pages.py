"""The pages for people: shells without any data, whose scripts ask the API as all clients do.

So nobody needs a key to see them, and what comes from users is never part of their HTML.
"""

from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, render_template, request

import lorajobs
from lorajobs import request as bodies
from web.deps import deps
from web.gate import PAGES
from web.openapi import described

#: `static/` and `templates/` are of this blueprint.
pages = Blueprint(PAGES, __name__, static_folder="static", template_folder="templates")

_HEADERS = {
    # The same address has another page after an upgrade; its ETag tells.
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@pages.get("/")
def studio() -> Response:
    """Shows the studio: what there is to make pictures with, and those that were made."""
    return rendered("studio.html", bodies=bodies)


@pages.get("/ops")
def operations() -> Response:
    """Shows operators what everything does; what it shows needs an admin's key."""
    return rendered("ops.html", flower_url=deps().settings.flower_url)


@pages.get("/docs")
def api() -> Response:
    """Shows the API's description to people."""
    return rendered("api.html", api=described(current_app))


def rendered(template: str, **context: object) -> Response:
    """A page of `templates/`, with the headers that all pages have."""
    response = Response(render_template(template, version=lorajobs.__version__, **context))
    response.headers.update(_HEADERS)
    response.headers["Content-Security-Policy"] = _policy()
    response.add_etag()
    response.make_conditional(request)
    return response


def _policy() -> str:
    """What a page may load: its own files, and pictures from where the objects are."""
    pictures = urlsplit(deps().objects.url("policy").url)
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": f"'self' data: blob: {pictures.scheme}://{pictures.netloc}",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        # No script can make HTML of a text, not even by mistake.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
