"""A small client of the HTTP API, used by the command line and the demo."""

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Self
from urllib.parse import quote

import httpx
from httpx_sse import SSEError, connect_sse

from lorajobs.bearer import Bearer
from lorajobs.client_errors import ApiUnreachable, ClientError, bear, kind_of, refusal
from lorajobs.patience import Patience

#: A JSON object as the API sends it.
Document = dict[str, Any]

TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
#: How long `wait` and `stream` bear with an API that is being restarted.
PATIENCE_S = 30.0
#: Seconds between two tries then.
PAUSE_S = 0.5
#: Seconds that one request of `wait` waits.
LONG_POLL_S = 20.0
#: Seconds without a sign of life after which a stream is taken for broken.
SILENCE_S = 60.0


class JobEvent(NamedTuple):
    """Something that happened to a job."""

    #: rises; `Client.stream` goes on after it
    id: str
    #: the new status, or `progress`
    kind: str
    #: of a progress `stage`, `step` and `steps`; of the last event the whole job
    data: Document


class Client:
    """Talks to one API; close it or use it in a `with`."""

    def __init__(self, url: str, timeout_s: float = 30.0, api_key: str | None = None) -> None:
        """Connects at the first call; `url` is the API's root.

        Raises: ClientError if it is not an http(s) URL.
        """
        _require_http(url)
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        auth = Bearer(httpx.URL(self.url), api_key) if api_key else None
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, auth=auth)

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

    def submit(
        self, request: Mapping[str, object], *, wait_s: float = 0, idempotency_key: str = ""
    ) -> Document:
        """Sends a job, and waits up to `wait_s` (60) seconds for its end.

        The body is that of `POST /v1/jobs`. Sent again with the same `idempotency_key`, as after
        an answer that was lost, it is the job of the first time.
        Raises: ClientError, ApiUnreachable.
        """
        once = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._json("POST", f"/v1/jobs{_wait(wait_s)}", request, wait_s, once)

    def dry_run(self, request: Mapping[str, object]) -> Document:
        """What a submit would do: the same checks, the adapters, the place; nothing is created.

        Raises: ClientError, ApiUnreachable.
        """
        return self._json("POST", "/v1/jobs?dry_run=1", request)

    def get(self, job_id: str, *, wait_s: float = 0) -> Document:
        """The job as it stands now, or after up to `wait_s` (60) seconds if it has not ended.

        Raises: ClientError, ApiUnreachable.
        """
        return self._json("GET", f"{_job(job_id)}{_wait(wait_s)}", wait_s=wait_s)

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

    def loras(self) -> Sequence[Document]:
        """The registered adapters.

        Raises: ClientError, ApiUnreachable.
        """
        loras: Sequence[Document] = self._json("GET", "/v1/loras")["loras"]
        return loras

    def upload_lora(self, lora_id: str, file: Path, *, base: str, scale: float = 1.0) -> Document:
        """Registers a `.safetensors` file of this machine under an id, for jobs of a base model.

        Raises: ClientError, ApiUnreachable, OSError.
        """
        said = httpx.QueryParams(base=base, scale=scale)
        kind = {"Content-Type": "application/octet-stream"}
        with file.open("rb") as content:
            path = f"/v1/loras/{quote(lora_id, safe='')}?{said}"
            return self._json("PUT", path, headers=kind, file=content)

    def upload_image(self, file: Path) -> Document:
        """Keeps a picture of this machine for a time; a job's `image` names it by its `id`.

        Raises: ClientError, ApiUnreachable, OSError.
        """
        kind = guess_type(file.name, strict=False)[0] or "application/octet-stream"
        with file.open("rb") as content:
            return self._json("POST", "/v1/images", headers={"Content-Type": kind}, file=content)

    def usage(self, by: Literal["key", "adapter", "model"] = "key") -> Sequence[Document]:
        """Jobs, pictures and GPU seconds of each key, adapter or base model.

        Raises: ClientError, ApiUnreachable.
        """
        used: Sequence[Document] = self._json("GET", f"/v1/usage?by={by}")["usage"]
        return used

    def wait(self, job_id: str, timeout_s: float | None = None) -> Document:
        """The job once it has ended; the API answers then, nobody asks again and again.

        Raises: TimeoutError, ClientError, ApiUnreachable once the API was away for PATIENCE_S.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        away = Patience(PATIENCE_S)
        while True:
            begun = time.monotonic()
            asked_s = min(LONG_POLL_S, max(0.0, deadline - begun))
            try:
                job = self.get(job_id, wait_s=asked_s)
            except ClientError as error:
                bear(away, error)
            else:
                away.renew()
                if job["status"] in TERMINAL:
                    return job
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"job {job_id} is {job['status']} after {timeout_s:g} s")
            if time.monotonic() < begun + asked_s:
                # Too many wait already, or the API is away.
                time.sleep(PAUSE_S)

    def stream(self, job_id: str, after: str = "") -> Generator[JobEvent, None, None]:
        """Each event of a job, or those after `after`, as it happens; the last one holds the job.

        A connection that breaks off is made again, and no event is lost or repeated.
        Raises: ClientError, ApiUnreachable once the API was away for PATIENCE_S.
        """
        away = Patience(PATIENCE_S)
        while True:
            try:
                for event in self._events(job_id, after):
                    after = event.id
                    away.renew()
                    yield event
                    if event.kind in TERMINAL:
                        return
                away.spend(
                    ApiUnreachable(f"the API at {self.url} broke off the events of {job_id}")
                )
            except _HeardAll:
                return
            except ClientError as error:
                bear(away, error)
            time.sleep(PAUSE_S)

    def _events(self, job_id: str, after: str) -> Iterator[JobEvent]:
        headers = {"Last-Event-ID": after} if after else {}
        # The API shows every few seconds that it is still there.
        timeout = httpx.Timeout(self._timeout_s, read=SILENCE_S)
        path = f"{_job(job_id)}/events"
        with (
            self._translated(),
            connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source,
        ):
            reply = source.response
            if reply.status_code == httpx.codes.NO_CONTENT:
                raise _HeardAll
            if reply.is_error:
                reply.read()
                raise refusal(reply)
            try:
                for sse in source.iter_sse():
                    if sse.data:
                        yield JobEvent(sse.id, sse.event, sse.json())
            except (SSEError, ValueError) as error:
                raise ClientError(f"{self.url} is not the lorajobs API", kind_of(reply)) from error

    def download(self, output: Mapping[str, Any]) -> bytes:
        """Fetches one of a job's `outputs` and checks its hash.

        Raises: ClientError, ApiUnreachable.
        """
        if output["url"] is None:
            raise ClientError("The picture was withheld", "a checker flagged it")
        with self._translated():
            reply = self._http.get(str(output["url"]), follow_redirects=True)
        if reply.is_error:
            raise refusal(reply)
        if hashlib.sha256(reply.content).hexdigest() != output["sha256"]:
            raise ClientError(
                "Download failed", f"{output['url']} is not the picture that was made"
            )
        return reply.content

    def _json(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        wait_s: float = 0,
        headers: Mapping[str, str] | None = None,
        file: BinaryIO | None = None,
    ) -> Document:
        with self._translated():
            timeout = self._timeout_s + wait_s
            reply = self._http.request(
                method, path, json=body, headers=headers, content=file, timeout=timeout
            )
        if reply.is_error:
            raise refusal(reply)
        try:
            document: Document = reply.json()
        except ValueError as error:
            raise ClientError(f"{self.url} is not the lorajobs API", kind_of(reply)) from error
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


class _HeardAll(Exception):
    """No event comes after the one that was named."""


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


def _wait(wait_s: float) -> str:
    return f"?wait={wait_s:g}" if wait_s else ""
