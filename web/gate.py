"""Who may pass: API keys, their scopes and rates; without a key only this machine's own user.

Every page is behind it but those named here, also those that are yet to be written.
"""

from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from lorajobs.access_errors import (
    HostRefused,
    KeyInvalid,
    KeyRequired,
    OriginRefused,
    RateLimited,
    ScopeMissing,
)
from lorajobs.api_keys import ApiKey, Caller, Scope
from lorajobs.loopback import is_local, is_loopback
from web.caller import admit
from web.deps import deps

#: For whoever watches the processes, and for pictures, whose URLs are signed.
OPEN = frozenset(
    {
        "health.alive",
        "health.ready",
        "metrics.index",
        "files.show",
        "files.receive",
        "openapi.document",
    }
)
#: The blueprint of the pages for people, which hold no data: they ask the API, and that is gated.
PAGES = "pages"
#: Other APIs' pages, by blueprint: their clients show a key whether or not one is needed.
FOREIGN = frozenset({"huggingface", "openai_images", "replicate", "vllm_omni"})
#: The second is what older clients of Replicate send.
_SCHEMES = ("bearer", "token")
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
#: What `curl 0:8000` says: an address that leads nowhere else, and no name that anybody could make.
_THIS_MACHINE = ("0", "0.0.0.0")
_WAY_OUT = (
    "send `Authorization: Bearer KEY`; `lorajobs keys create NAME` on the server makes one "
    "(for its own commands and Client: LORAJOBS_API_KEY)"
)


def register(app: Flask) -> None:
    """Puts the gate in front of every page."""
    app.before_request(_pass)
    app.after_request(_tell_rate)


def _pass() -> None:
    if request.endpoint in OPEN or request.blueprint == PAGES:
        return
    key = _key()
    if key is None:
        admit(None, _keyless())
        return
    admit(key, Caller(key.id, sees_all=Scope.ADMIN in key.scopes))
    _spend(key)
    needed = Scope.READ if request.method in _LOOKING else Scope.SUBMIT
    if not key.may(needed):
        has = ", ".join(f"`{scope}`" for scope in key.scopes)
        raise ScopeMissing(f"{request.method} needs the scope `{needed}`; this key has {has}")


def _key() -> ApiKey | None:
    """The key that the request shows."""
    given = request.headers.get("Authorization")
    if given is None:
        return None
    scheme, _, shown = given.strip().partition(" ")
    ring = deps().ring
    key = ring.find(shown.strip()) if scheme.lower() in _SCHEMES else None
    if key is None and _is_foreign() and ring.is_empty():
        # `api_key="none"`: where no key was ever made, none can be meant.
        return None
    if key is None:
        raise KeyInvalid(f"no such key is in use here, or not any more; {_WAY_OUT}")
    return key


def _is_foreign() -> bool:
    """True at other APIs' pages, and where none is: there their clients are told that."""
    return request.blueprint in FOREIGN or request.url_rule is None


def _spend(key: ApiKey) -> None:
    d = deps()
    left = g.allowance = d.ring.spend(key, d.settings.rate_per_minute)
    if left.retry_s:
        detail = f"this key has {left.limit:,} requests per minute; the next in {left.retry_s} s"
        raise RateLimited(detail, left.retry_s)


def _keyless() -> Caller:
    """Who asks without a key; `docs/decisions.md` has the rule and its reasons."""
    d = deps()
    local, rule = is_local(d.settings), d.settings.require_keys
    if rule != "never" and not (rule == "auto" and local and _is_on_this_machine()):
        raise KeyRequired(f"this API asks for an API key; {_WAY_OUT}")
    alone = d.ring.is_empty()
    if rule == "auto" and not alone:
        raise KeyRequired(f"API keys were made here, and since then everyone needs one; {_WAY_OUT}")
    if local:
        _require_own_host()
    _require_own_page()
    return Caller(sees_all=alone)


def _is_on_this_machine() -> bool:
    proxied = any(name in request.headers for name in _PROXIED)
    return is_loopback(request.remote_addr or "") and not proxied


def _require_own_host() -> None:
    """Refuses a name that somebody made lead here: a page of theirs is asking (DNS rebinding)."""
    host = _host(f"//{request.host}")
    if host not in _THIS_MACHINE and not is_loopback(host):
        raise HostRefused(f"without a key this API answers at localhost only, not at {host!r}")


def _require_own_page() -> None:
    """Refuses what a page of another site makes a browser do (CSRF)."""
    origin = request.headers.get("Origin")
    if origin is None or request.method in _LOOKING:
        return
    if urlsplit(origin).netloc not in (request.host, _netloc(deps().settings.public_url)):
        raise OriginRefused(f"without a key, pages of {origin!r} may not change anything here")


def _netloc(url: str | None) -> str | None:
    return urlsplit(url).netloc if url else None


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _tell_rate(response: Response) -> Response:
    if left := g.get("allowance"):
        response.headers["RateLimit-Limit"] = str(left.limit)
        response.headers["RateLimit-Remaining"] = str(left.remaining)
        response.headers["RateLimit-Reset"] = str(left.reset_s)
    return response
