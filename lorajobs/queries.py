"""The queries of the API's pages as strict models."""

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorajobs.field_errors import failed
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
    limit: int = Field(20, ge=1, le=100, description="an integer from 1 to 100")
    cursor: str | None = Field(
        None, min_length=1, max_length=512, description="the `next_cursor` of the page before"
    )


class UsageQuery(Query):
    """The query of `GET /v1/usage`."""

    by: UsageBy = Field("key", description="`key`, `adapter` or `model`")


class UploadQuery(Query):
    """The query of `PUT /v1/loras/{id}`."""

    base: str = Field(min_length=1, max_length=128, description="the id of its base model")
    scale: float = Field(1.0, ge=MIN_SCALE, le=MAX_SCALE, description="a number from -5 to 5")
    license: str | None = Field(
        None, max_length=256, description="a string of at most 256 characters"
    )
    visibility: Visibility | None = Field(None, description="`private` or `public`")
