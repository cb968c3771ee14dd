"""The pages of lists of jobs, for every surface of the API."""

import base64

from lorajobs.errors import FieldError, ValidationFailed
from lorajobs.job_page import JobFilter, JobPage
from web.caller import whose
from web.deps import deps


def page_of(where: JobFilter, limit: int, cursor: str | None) -> JobPage:
    """A page of the jobs there for the caller, newest first; its cursor is that of the next one.

    Raises: ValidationFailed for a cursor that no page gave, ScopeMissing for another's jobs.
    """
    own = where._replace(owner=whose(where.owner))
    try:
        found = deps().store.page(own, limit, _transparent(cursor) if cursor else None)
    except ValueError as error:
        allowed = "give the cursor of the page before"
        raise ValidationFailed("", FieldError("/cursor", allowed)) from error
    return found._replace(cursor=_opaque(found.cursor) if found.cursor else None)


def _opaque(cursor: str) -> str:
    """The store's cursor in a form that nobody is tempted to take apart."""
    return base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=")


def _transparent(cursor: str) -> str:
    padded = cursor.encode() + b"=" * (-len(cursor) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
