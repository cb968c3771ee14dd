"""A request of another API in the terms of `POST /v1/jobs`, and what is wrong with it back again.

A surface puts together what its client asked for, with the pointer of the client's own field each;
the rules stand in one place, `JobRequest` and the plan, and an error names what the client wrote.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lorajobs.errors import AttemptError, FieldError, RequestError
from lorajobs.field_errors import pointer
from lorajobs.request import MAX_LORAS, JobRequest


class Translation:
    """One request in both vocabularies."""

    def __init__(self) -> None:
        self._fields: dict[str, object] = {}
        self._loras: list[dict[str, object]] = []
        #: a pointer of ours -> the client's
        self._theirs: dict[str, str] = {}

    def put(self, field: str, value: object, theirs: str, **fields: str) -> None:
        """Asks for a field of `JobRequest`; None leaves it out.

        `theirs` is its pointer, `fields` those of its own fields that stand elsewhere.
        """
        if value is not None:
            self._fields[field] = value
            self._point(pointer(field), theirs, fields)

    def put_lora(self, lora: dict[str, object], theirs: str, **fields: str) -> None:
        """Asks for one more adapter, a `LoraRequest`; None leaves a field of it out.

        `theirs` is the adapter's pointer, `fields` those of its fields that stand elsewhere.
        """
        count = len(self._loras)
        if count == MAX_LORAS:
            # Theirs may stand in several fields: the first that is too much is to blame.
            self._theirs[pointer("loras")] = theirs
        where = pointer("loras", count)
        self._loras.append({name: value for name, value in lora.items() if value is not None})
        self._point(where, theirs, fields)

    def request(self) -> JobRequest:
        """All that was put; called inside `spoken`.

        Raises: ValidationFailed.
        """
        loras = {"loras": self._loras} if self._loras else {}
        return JobRequest.parse(json.dumps(self._fields | loras).encode())

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """Makes the errors of the block point at the client's fields."""
        try:
            yield
        except (RequestError, AttemptError) as error:
            ours = error.errors
            theirs = (FieldError(self._own(e.pointer), e.detail) for e in ours)
            # One field of theirs can be two of ours, such as a size.
            error.errors = tuple(dict.fromkeys(theirs))
            if ours and error.detail.startswith(f"{ours[0].pointer}: "):
                rest = error.detail.removeprefix(ours[0].pointer)
                error.detail = error.errors[0].pointer + rest
            raise

    def _point(self, ours: str, theirs: str, fields: Mapping[str, str]) -> None:
        self._theirs[ours] = theirs
        self._theirs |= {f"{ours}/{name}": own for name, own in fields.items()}

    def _own(self, ours: str) -> str:
        known = (p for p in self._theirs if ours == p or ours.startswith(f"{p}/"))
        longest = max(known, key=len, default=None)
        return self._theirs[longest] + ours.removeprefix(longest) if longest else ours
