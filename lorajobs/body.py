"""The base of the bodies that a client may send: strict models of JSON."""

import json
from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from lorajobs.errors import MalformedBody
from lorajobs.field_errors import failed, shown


class Body(BaseModel):
    """Base of the request bodies: JSON types exactly, no unknown field, no NaN or Infinity.

    `null` means the same as leaving the field out, wherever that is allowed.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Reads a JSON body.

        Raises: MalformedBody, ValidationFailed with a pointer to each wrong field.
        """
        _require_object(raw)
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            raise failed(cls, error.errors(include_url=False)) from None


def _require_object(raw: bytes) -> None:
    try:
        body = from_json(raw)
    except ValueError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise MalformedBody("the body must be a JSON object")
    # The reader above keeps the last of two values without a word.
    json.loads(raw, object_pairs_hook=_require_distinct)


def _require_distinct(pairs: Sequence[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise MalformedBody(f"the key {shown(key)} stands twice in one object")
        seen.add(key)
