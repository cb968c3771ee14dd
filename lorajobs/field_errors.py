"""Pydantic's errors in our words: where the wrong field is and what is allowed there."""

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from lorajobs.errors import (
    AttemptError,
    FieldError,
    LoraSeveralFiles,
    RequestError,
    ValidationFailed,
)

#: A body can hold thousands of wrong fields; a reader needs the first few.
MAX_ERRORS = 16

#: The type of a PydanticCustomError whose message already says what is allowed.
ALLOWED = "allowed"

#: The ids of uploaded pictures have 70 characters.
_SHOWN = 80
_LISTED = 20


def pointer(*path: str | int) -> str:
    """The JSON pointer (RFC 6901) of this path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def nearest(name: str, known: Sequence[str], count: int = 1) -> list[str]:
    """The known names most like this one, best first; none if nothing is close."""
    by_folded = {k.lower(): k for k in known}
    return [
        by_folded[match]
        for match in difflib.get_close_matches(name[:_SHOWN].lower(), by_folded, count, 0.5)
    ]


def shown(value: object) -> str:
    """A JSON value as an error message quotes it: short, whatever was sent."""
    if isinstance(value, str):
        return (
            json.dumps(value) if len(value) <= _SHOWN else f"a string of {len(value):,} characters"
        )
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and abs(value) > 10**20:
        return "so large a number"
    return json.dumps(value)


def listed(name: str, known: Sequence[str]) -> str:
    """The known names for an error message, those most like `name` first."""
    names = list(dict.fromkeys([*nearest(name, known, 3), *known]))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(f"`{name}`" for name in names[:_LISTED]) or "none") + more


@contextmanager
def blamed(where: str, field: str = "") -> Iterator[None]:
    """Makes the errors of the block point at a field of the request.

    Pointers that an error has already are taken as relative to `where`.
    """
    try:
        yield
    except (RequestError, AttemptError) as error:
        at = "/weight_name" if field and isinstance(error, LoraSeveralFiles) else field
        own = error.errors or (FieldError(at, error.detail),)
        error.errors = tuple(FieldError(where + e.pointer, e.detail) for e in own)
        raise


def described(model: type[BaseModel], problems: Sequence[ErrorDetails]) -> list[FieldError]:
    """One FieldError for each of the first `MAX_ERRORS`, then how many more there are."""
    problems = [problem for problem in problems if not _follows(problem)]
    errors = [_described(model, problem) for problem in problems[:MAX_ERRORS]]
    if len(problems) > MAX_ERRORS:
        errors.append(FieldError("", f"and {len(problems) - MAX_ERRORS} more"))
    return errors


def _follows(problem: ErrorDetails) -> bool:
    """True for an array that pydantic calls too short because what stands in it is wrong."""
    return problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]


def _described(model: type[BaseModel], problem: ErrorDetails) -> FieldError:
    kind, path = problem["type"], problem["loc"]
    if path[-1:] == ("[key]",) and len(path) > 2:  # pydantic's mark of a wrong key of a dict
        path = path[:-1]
    owner, description = _allowed(model, path)
    if kind == "extra_forbidden":
        detail = _unknown(owner, str(path[-1]))
    elif kind == ALLOWED:
        detail = problem["msg"]
    elif kind == "missing":
        detail = f"is missing; give {description}"
    elif kind == "model_type":
        detail = f"give an object of {_names(owner)}, not {shown(problem['input'])}"
    else:
        detail = f"give {description}, not {shown(problem['input'])}"
    return FieldError(pointer(*path), detail)


def _unknown(owner: type[BaseModel], name: str) -> str:
    close = nearest(name, list(owner.model_fields))
    hint = f"did you mean `{close[0]}`? " if close else ""
    return f"unknown field; {hint}known are {_names(owner)}"


def _names(owner: type[BaseModel]) -> str:
    return ", ".join(f"`{name}`" for name in owner.model_fields) or "none"


def _allowed(model: type[BaseModel], path: Sequence[str | int]) -> tuple[type[BaseModel], str]:
    """The innermost model on the path, and the description of the last field before its end."""
    owner, description = model, "an object"
    for part in path:
        field = owner.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        description = field.description or description
        nested = _model_in(field.annotation)
        if nested is None:  # what follows are the client's own names, such as keys of metadata
            break
        owner = nested
    return owner, description


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside `Model`, `Model | None` or `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def failed(model: type[BaseModel], problems: Sequence[ErrorDetails]) -> ValidationFailed:
    """The error that names each wrong field of what was sent."""
    return ValidationFailed("", *described(model, problems))
