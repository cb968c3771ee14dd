"""The kinds of values that settings have, each with what is wrong with others."""

import base64
import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr


def _upper(text: object) -> object:
    return text.upper() if isinstance(text, str) else text


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise ValueError("give an http(s) URL such as https://api.example.com")
    return text


def _host_or_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    if not re.fullmatch(
        r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z][a-z0-9_-]*", text.lower()
    ):
        raise ValueError(
            f"{text!r}: give a host such as hooks.internal or *.example.com, an address, or a "
            "network such as 10.0.0.0/8"
        )
    return text.lower()


def _signing_secret(secret: SecretStr) -> SecretStr:
    head, mark, key = secret.get_secret_value().partition("whsec_")
    try:
        size = len(base64.b64decode(key, validate=True))
    except ValueError:
        size = 0
    if head or not mark or not 24 <= size <= 64:
        raise ValueError(
            "give `whsec_` and 24 to 64 random bytes in base64, or leave it unset to have one made"
        )
    return secret


Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
LogFormat = Literal["console", "json"]
RequireKeys = Literal["auto", "always", "never"]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
SigningSecret = Annotated[SecretStr, AfterValidator(_signing_secret)]
HostOrNetwork = Annotated[str, AfterValidator(_host_or_network)]
