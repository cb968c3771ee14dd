"""An adapter as vLLM-Omni's clients name it: every field in several spellings."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from lorajobs.body import Body
from lorajobs.document import without_secrets
from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.field_errors import ALLOWED, blamed, shown
from lorajobs.jobs import AppliedLora
from lorajobs.request import MAX_SCALE, MIN_SCALE, URL_MAX
from web.names import lora_named
from web.translation import Translation

#: A JSON reader that knows only doubles keeps these.
_MAX_ID = 2**53 - 1

_Name = Annotated[str | None, Field(min_length=1, max_length=128, description="the adapter's name")]
_Path = Annotated[
    str | None,
    Field(min_length=1, max_length=URL_MAX, description="a reference, or a registered id"),
]
_Scale = Annotated[
    float | None, Field(ge=MIN_SCALE, le=MAX_SCALE, description="a number from -5 to 5")
]
_Id = Annotated[int | None, Field(ge=1, le=_MAX_ID, description=f"an integer from 1 to {_MAX_ID}")]

_SPELLINGS = {
    "name": ("name", "lora_name", "adapter"),
    "path": ("path", "local_path", "lora_path", "lora_local_path"),
    "scale": ("scale", "lora_scale"),
    "id": ("id", "int_id", "lora_int_id"),
}


class LoraObject(Body):
    """One adapter of a request; a name alone is that of a registered one."""

    name: _Name = None
    lora_name: _Name = None
    adapter: _Name = None
    path: _Path = None
    local_path: _Path = None
    lora_path: _Path = None
    lora_local_path: _Path = None
    scale: _Scale = None
    lora_scale: _Scale = None
    id: _Id = None
    int_id: _Id = None
    lora_int_id: _Id = None

    @model_validator(mode="after")
    def _spelled_once(self) -> Self:
        for spellings in _SPELLINGS.values():
            given = [f"`{name}`" for name in spellings if getattr(self, name) is not None]
            if len(given) > 1:
                raise PydanticCustomError(ALLOWED, f"give only one of {' and '.join(given)}")
        if not (self.spelled("path") or self.spelled("name")):
            raise PydanticCustomError(ALLOWED, "give the adapter's `path`, or a registered `name`")
        return self

    def spelled(self, what: str) -> str | None:
        """The field that says this, None if none does."""
        return next((n for n in _SPELLINGS[what] if getattr(self, n) is not None), None)


class NamedLora(NamedTuple):
    """An adapter, by their names and by ours."""

    name: str
    #: a number that tells it from the others in the answer; what is applied is said by `path`
    id: int
    path: str
    scale: float | None
    #: `id` or `path` of our request, and where the client wrote what stands there
    field: str
    reference: str
    where: str
    spelled: str

    def put(self, translation: Translation) -> None:
        """Asks for it."""
        lora: dict[str, object] = {self.field: self.reference, "scale": self.scale}
        translation.put_lora(lora, self.where, **{self.field: f"{self.where}/{self.spelled}"})


def told(applied: AppliedLora, asked: Sequence[NamedLora]) -> dict[str, object]:
    """What the answer says of an adapter: by the names that it was asked for with."""
    own = next((lora for lora in asked if lora.reference == applied.id), None)
    return {
        "name": own.name if own else without_secrets(applied.id),
        "id": own.id if own else _stable_id(applied.id),
        "path": without_secrets(own.path if own else applied.id),
        "scale": applied.scale,
        "sha256": applied.sha256,
    }


def named_loras(value: object, where: str) -> Iterator[NamedLora]:
    """The adapters of one field, an object or an array of such.

    Raises: ValidationFailed, StoreUnavailable.
    """
    several = isinstance(value, list)
    paths: dict[int, str] = {}
    for index, one in enumerate(value if isinstance(value, list) else [value]):
        lora = _named(one, f"{where}/{index}" if several else where)
        earlier = paths.setdefault(lora.id, lora.path)
        if earlier != lora.path:
            # With them the second would be taken for the first, which is loaded already.
            problem = f"the id {lora.id} is that of {shown(earlier)} too; leave it out"
            raise ValidationFailed("", FieldError(lora.where, problem))
        yield lora


def _named(value: object, where: str) -> NamedLora:
    if not isinstance(value, dict):
        problem = f"give an object `{{name, path, scale, id}}`, not {shown(value)}"
        raise ValidationFailed("", FieldError(where, problem))
    with blamed(where):
        lora = LoraObject.parse(json.dumps(value).encode())
    spelled = lora.spelled("path") or lora.spelled("name") or ""
    path = str(getattr(lora, spelled))
    field, reference = lora_named(path)
    name = lora.spelled("name")
    return NamedLora(
        name=str(getattr(lora, name)) if name else _last_of(path),
        id=next(filter(None, (lora.id, lora.int_id, lora.lora_int_id)), _stable_id(path)),
        path=path,
        scale=lora.lora_scale if lora.scale is None else lora.scale,
        field=field,
        reference=reference,
        where=where,
        spelled=spelled,
    )


def _last_of(path: str) -> str:
    return without_secrets(path).rstrip("/").rpartition("/")[2]


def _stable_id(path: str) -> int:
    """The same number for the same path, in every process."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") % _MAX_ID + 1
