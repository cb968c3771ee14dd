"""The queries of the API's pages as strict models."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lorajobs.field_errors import ALLOWED, failed
from lorajobs.jobs import JobStatus
from lorajobs.request import MAX_SCALE, MAX_WAIT_S, MIN_SCALE, URL_MAX
from lorajobs.spec import Visibility
from lorajobs.usage import UsageBy


class Query(BaseModel):
    """The query of a page; this one takes no parameter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, query: Mapping[str, Sequence[str]]) -> Self:
        """Reads the values given for each parameter.

        Raises: ValidationFailed; its pointers name the parameters.
        """
        given = {name: v[0] if len(v) == 1 else list(v) for name, v in query.items()}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise failed(cls, error.errors(include_url=False)) from None


class WaitQuery(Query):
    """The query of a page that can be answered later."""

    wait: float | None = Field(
        None, ge=0, le=MAX_WAIT_S, description=f"a number of seconds from 0 to {MAX_WAIT_S}"
    )


class SubmitQuery(WaitQuery):
    """The query of `POST /v1/jobs`."""

    dry_run: bool = Field(False, description="`1` or `0`")


def _day(text: object) -> object:
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return date.fromisoformat(text)
    raise ValueError("not a day")


Day = Annotated[date, BeforeValidator(_day)]
_OWNER = "the id of an API key, or empty for none; whoever is no admin may give the own"


class JobQuery(Query):
    """The query of `GET /v1/jobs`."""

    status: JobStatus | None = Field(
        None, description=", ".join(f"`{status}`" for status in JobStatus)
    )
    model: str | None = Field(
        None, min_length=1, max_length=128, description="the id of a base model"
    )
    lora: str | None = Field(
        None, min_length=1, max_length=URL_MAX, description="the id or reference of an adapter"
    )
    owner: str | None = Field(None, max_length=64, description=_OWNER)
    limit: int = Field(20, ge=1, le=100, description="an integer from 1 to 100")
    cursor: str | None = Field(
        None, min_length=1, max_length=512, description="the `next_cursor` of the page before"
    )


class UsageQuery(Query):
    """The query of `GET /v1/usage`."""

    by: UsageBy = Field("key", description="`key`, `adapter` or `model`")
    since: Day | None = Field(None, description="the first day (UTC) that counts, as 2026-11-01")
    until: Day | None = Field(
        None, description="the last day, as 2026-11-30 and not before `since`; today if left out"
    )
    owner: str | None = Field(None, max_length=64, description=_OWNER)

    @model_validator(mode="after")
    def _begins(self) -> Self:
        if self.until and (self.since is None or self.since > self.until):
            raise PydanticCustomError(ALLOWED, "give `since` with `until`, and no later day")
        return self


class UploadQuery(Query):
    """The query of `PUT /v1/loras/{id}`."""

    base: str = Field(min_length=1, max_length=128, description="the id of its base model")
    scale: float = Field(1.0, ge=MIN_SCALE, le=MAX_SCALE, description="a number from -5 to 5")
    license: str | None = Field(
        None, max_length=256, description="a string of at most 256 characters"
    )
    visibility: Visibility | None = Field(None, description="`private` or `public`")


class UploadForm(UploadQuery):
    """The fields beside the file of a form sent to `POST /v1/loras`."""

    id: str = Field(min_length=1, max_length=128, description="the adapter's id")
    trigger_words: tuple[str, ...] = Field(
        (), max_length=32, description="at most 32 fields of 1 to 256 characters"
    )

    @field_validator("trigger_words", mode="before")
    @classmethod
    def _several(cls, words: object) -> object:
        return [words] if isinstance(words, str) else words
