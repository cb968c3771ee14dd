"""Asks a running API for its good answers, and holds each against `/openapi.json`."""

from typing import Any

import schemathesis
from schemathesis import Response

#: What every server says, of how it sends and not what.
PLUMBING = frozenset({"date", "server", "connection", "transfer-encoding"}) | {
    "content-type",
    "content-length",
}


class Walk:
    """The answers so far: the operations and their statuses."""

    def __init__(self, url: str) -> None:
        self.schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self.seen: set[tuple[str, int]] = set()

    def answer(self, endpoint: str, expected: int, **sent: Any) -> Response:
        """An answer of this status, which is as it is described."""
        operation = self.schema.find_operation_by_id(endpoint)
        case = operation.Case(**sent)
        answer = case.call(timeout=30, allow_redirects=False)
        assert answer.status_code == expected, f"{endpoint}: {answer.content!r}"
        case.validate_response(answer)
        described = operation.definition.raw["responses"][str(expected)]["headers"]
        undescribed = answer.headers.keys() - {name.lower() for name in described} - PLUMBING
        assert not undescribed, f"{endpoint} {expected}: {undescribed}"
        self.seen.add((endpoint, expected))
        return answer

    def ask(self, endpoint: str, expected: int, **sent: Any) -> Any:
        """The JSON of such an answer, or its text."""
        answer = self.answer(endpoint, expected, **sent)
        is_json = answer.headers.get("content-type") == ["application/json"]
        return answer.json() if is_json else answer.content.decode(errors="replace")

    def send(self, body: dict[str, Any], expected: int, **query: Any) -> Any:
        """What a submit of this body answers."""
        sent = {"body": body, "media_type": "application/json", "query": query}
        return self.ask("jobs.create", expected, **sent)
