"""Who asks, and what is there for them."""

from flask import g, request

from lorajobs.access_errors import ScopeMissing
from lorajobs.adapters.view import View
from lorajobs.api_keys import ApiKey, Caller
from lorajobs.errors import FieldError, JobNotFound, ValidationFailed
from lorajobs.jobs import Job
from lorajobs.request import JobRequest
from lorajobs.spec import Webhook
from lorajobs.terms import Once, Terms
from web.deps import deps

HEADER = "Idempotency-Key"
_HEADER_MAX = 255


def admit(key: ApiKey | None, caller: Caller) -> None:
    """Makes this who asks with the current request."""
    g.key, g.caller = key, caller


def caller() -> Caller:
    """Who asks with the current request."""
    who: Caller = g.caller
    return who


def whose(asked: str | None) -> str | None:
    """The owner of what a list shows, None for everyone: everything that is there unless asked.

    Raises: ScopeMissing.
    """
    who = caller()
    if asked is None:
        return None if who.sees_all else who.owner
    if not who.may_see(asked):
        raise ScopeMissing("only an admin's key may ask for what is another's: leave `owner` out")
    return asked


def own_job(job_id: str) -> Job:
    """The job, if it is there for who asks.

    Raises: JobNotFound.
    """
    job = deps().store.get(job_id)
    if not caller().may_see(job.spec.owner):
        # Word for word what is said of an id that nobody has.
        raise JobNotFound(f"no job has the id {job_id!r}")
    return job


def own_loras() -> View:
    """The adapters that are there for who asks."""
    return View(deps().library, deps().uploads, caller())


def own_webhook() -> Webhook | None:
    """Where the jobs of who asks are announced that name no webhook of their own."""
    key: ApiKey | None = g.key
    return key.webhook if key else None


def terms_of(body: JobRequest) -> Terms:
    """What the current request's key allows, and how a repetition of it will be known.

    Raises: ValidationFailed.
    """
    key: ApiKey | None = g.key
    most = key.max_waiting if key else None
    given = request.headers.get(HEADER)
    if given is None:
        return Terms(most)
    if not (0 < len(given) <= _HEADER_MAX and given.isascii() and given.isprintable()):
        problem = f"give 1 to {_HEADER_MAX} printable ASCII characters, such as a UUID"
        raise ValidationFailed("", FieldError(HEADER, problem))
    asked = body.model_dump(mode="json", exclude_none=True)
    return Terms(most, Once.of(caller().owner, request.path, given, asked))
