"""A setting's value as text: for its variable, and for people."""

import json
import re
from pathlib import Path

from pydantic import SecretStr


def absolute(value: object) -> object:
    """The value, or the path or paths from the root on: a child may start in another folder."""
    if isinstance(value, tuple):
        return tuple(absolute(item) for item in value)
    return value.expanduser().absolute() if isinstance(value, Path) else value


def masked(text: str) -> str:
    """The text without what its URLs sign in with; one may name several brokers."""
    text = re.sub(r"://.*@", "://**********@", text)
    return re.sub(r"\bpassword=[^&]*", "password=**********", text)


def text_of(value: object) -> str:
    """A value as its variable holds it."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return json.dumps([item if isinstance(item, float | int) else str(item) for item in value])
    return str(value).lower() if isinstance(value, bool) else str(value)
