"""An API that two keys and an admin's share, each with a client of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from lorajobs.api_keys import ApiKey, Scope, create
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST, Api

ANY = (Scope.SUBMIT, Scope.READ)


class Keyed:
    """Whoever holds one key."""

    def __init__(self, api: Api, name: str, scopes: Sequence[Scope], **limits: Any) -> None:
        self.api = api
        self.key: ApiKey
        self.key, self.secret = create(api.keys, name, scopes, **limits)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any
    ) -> TestResponse:
        """Asks with the key."""
        shown = Headers({"Authorization": f"Bearer {self.secret}", **(headers or {})})
        return self.api.client.open(path, method=method, headers=shown, **body)

    def get(self, path: str) -> TestResponse:
        """Looks with the key."""
        return self.ask("GET", path)

    def post(self, path: str, **body: Any) -> TestResponse:
        """Asks for a change with the key."""
        return self.ask("POST", path, **body)

    def submit(self, **fields: Any) -> str:
        """Submits a job and returns its id."""
        answer = self.post("/v1/jobs", json=REQUEST | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["id"])

    def ids(self, path: str = "/v1/jobs") -> set[str]:
        """The ids that a list shows."""
        (listed,) = (v for v in self.get(path).get_json().values() if isinstance(v, list))
        return {item["id"] for item in listed}


class Shared:
    """The API, `anna` and `ben`, and `root` who sees all."""

    def __init__(self, shelf: Shelf, **parts: Any) -> None:
        settings = shelf.settings.model_copy(update={"require_keys": "auto"})
        self.api = Api(shelf, settings=settings, **parts)
        self.anna = Keyed(self.api, "anna", ANY)
        self.ben = Keyed(self.api, "ben", ANY)
        self.root = Keyed(self.api, "root", (Scope.ADMIN,))
