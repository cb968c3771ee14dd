"""What an API refuses, and that it does not answer, as its client raises it."""

from collections.abc import Sequence

import httpx

from lorajobs.patience import Patience


class ClientError(Exception):
    """The API refused a request; `errors` are (JSON pointer, what is allowed there)."""

    def __init__(
        self, title: str, detail: str = "", errors: Sequence[tuple[str, str]] = (), status: int = 0
    ) -> None:
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.status = status
        super().__init__(problem_text(title, detail, self.errors))


def problem_text(title: str, detail: str, errors: Sequence[tuple[str, str]]) -> str:
    """A problem for people: a line, and one for each wrong field; nothing is said twice."""
    fields = [f"  {pointer}: {what}" for pointer, what in errors]
    known = detail in ("", title) or any(detail in line for line in fields)
    return "\n".join([title if known else f"{title}: {detail}", *fields])


class ApiUnreachable(ClientError):
    """Nothing answers at the API's URL."""


def refusal(reply: httpx.Response) -> ClientError:
    """What a problem document says, or at least the status."""
    try:
        problem = reply.json()
        errors = [(str(e["pointer"]), str(e["detail"])) for e in problem.get("errors", [])]
        return ClientError(
            str(problem["title"]), str(problem.get("detail", "")), errors, reply.status_code
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ClientError(
            f"{reply.url} answered {reply.status_code}", kind_of(reply), status=reply.status_code
        )


def kind_of(reply: httpx.Response) -> str:
    """What the answer is, for a message about one that makes no sense."""
    return f"{reply.headers.get('content-type', 'no content type')}, no problem document"


def bear(patience: Patience, error: ClientError) -> None:
    """Raises the error, if it does not pass by itself or has not for long."""
    if not (isinstance(error, ApiUnreachable) or error.status == 503):
        raise error
    patience.spend(error)
