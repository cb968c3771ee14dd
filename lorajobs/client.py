"""A small client of the HTTP API, used by the command line and the demo."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import httpx

#: A JSON object as the API sends it.
Document = dict[str, Any]

TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
POLL_S = 0.25
#: How long `wait` bears with an API that is being restarted.
PATIENCE_S = 30.0


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


class Client:
    """Talks to one API; close it or use it in a `with`."""

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        """Connects at the first call; `url` is the API's root.

        Raises: ClientError if it is not an http(s) URL.
        """
        _require_http(url)
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def ready(self) -> bool:
        """True if the API and its store answer."""
        with self._translated():
            return self._http.get("/readyz").status_code == httpx.codes.OK

    def submit(self, request: Mapping[str, object]) -> Document:
        """Sends a job; the body is that of `POST /v1/jobs`.

        Raises: ClientError, ApiUnreachable.
        """
        return self._json("POST", "/v1/jobs", request)

    def get(self, job_id: str) -> Document:
        """The job as it stands now.

        Raises: ClientError, ApiUnreachable.
        """
        return self._json("GET", _job(job_id))

    def jobs(self, limit: int = 20) -> Sequence[Document]:
        """The newest jobs, newest first; `limit` is at most 100.

        Raises: ClientError, ApiUnreachable.
        """
        jobs: Sequence[Document] = self._json("GET", f"/v1/jobs?limit={limit}")["jobs"]
        return jobs

    def cancel(self, job_id: str) -> Document:
        """Asks a job to stop; harmless if it has ended.

        Raises: ClientError, ApiUnreachable.
        """
        return self._json("POST", f"{_job(job_id)}/cancel")

    def models(self) -> Sequence[Document]:
        """The base models and the workers that serve them.

        Raises: ClientError, ApiUnreachable.
        """
        models: Sequence[Document] = self._json("GET", "/v1/models")["models"]
        return models

    def wait(
        self,
        job_id: str,
        on_change: Callable[[Document], None] = lambda _: None,
        timeout_s: float | None = None,
    ) -> Document:
        """Polls until the job has ended; `on_change` sees each new state on the way.

        Raises: TimeoutError, ClientError, ApiUnreachable.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        seen: Document = {}
        while True:
            job = self._get_patiently(job_id)
            if job != seen:
                on_change(job)
                seen = job
            if job["status"] in TERMINAL:
                return job
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is {job['status']} after {timeout_s:g} s")
            time.sleep(POLL_S)

    def _get_patiently(self, job_id: str) -> Document:
        patience = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.get(job_id)
            except ClientError as error:
                away = isinstance(error, ApiUnreachable) or error.status == 503
                if not away or time.monotonic() >= patience:
                    raise
            time.sleep(POLL_S)

    def download(self, output: Mapping[str, Any]) -> bytes:
        """Fetches one of a job's `outputs` and checks its hash.

        Raises: ClientError, ApiUnreachable.
        """
        with self._translated():
            reply = self._http.get(str(output["url"]), follow_redirects=True)
        if reply.is_error:
            raise _refusal(reply)
        if hashlib.sha256(reply.content).hexdigest() != output["sha256"]:
            raise ClientError(
                "Download failed", f"{output['url']} is not the picture that was made"
            )
        return reply.content

    def _json(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Document:
        with self._translated():
            reply = self._http.request(method, path, json=body)
        if reply.is_error:
            raise _refusal(reply)
        try:
            document: Document = reply.json()
        except ValueError as error:
            raise ClientError(f"{self.url} is not the lorajobs API", _kind(reply)) from error
        return document

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise ApiUnreachable(f"the API does not answer at {self.url}", str(error)) from error
        except httpx.TransportError as error:
            raise ApiUnreachable(f"the API at {self.url} broke off", str(error)) from error
        except httpx.InvalidURL as error:
            raise ClientError(f"{self.url} is not a URL", str(error)) from error


def _require_http(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ClientError(f"{url} is not a URL", str(error)) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"{url} is not an http(s) URL")


def _job(job_id: str) -> str:
    """The path of a job, also if the id was typed by hand."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _refusal(reply: httpx.Response) -> ClientError:
    """What a problem document says, or at least the status."""
    try:
        problem = reply.json()
        errors = [(str(e["pointer"]), str(e["detail"])) for e in problem.get("errors", [])]
        return ClientError(
            str(problem["title"]), str(problem.get("detail", "")), errors, reply.status_code
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ClientError(
            f"{reply.url} answered {reply.status_code}", _kind(reply), status=reply.status_code
        )


def _kind(reply: httpx.Response) -> str:
    return f"{reply.headers.get('content-type', 'no content type')}, no problem document"
