"""An API on real parts that need no service: stores in memory and in a folder."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from lorajobs.adapters.awaited import AwaitedUploads
from lorajobs.api_keys import KeyRing
from lorajobs.errors import StoreUnavailable
from lorajobs.images import Images
from lorajobs.jobs import Job, JobStatus, Outcome
from lorajobs.lookout import Lookout
from lorajobs.roster import Roster
from lorajobs.testing import (
    ManualClock,
    MemoryApiKeys,
    MemoryAwaited,
    MemoryImages,
    MemoryJobStore,
    MemoryListeners,
    MemoryTally,
    MemoryWatch,
)
from lorajobs.webhook_secrets import WebhookSecrets, new_secret
from tests.jobs import an_output, lease_of
from tests.shelf import Shelf, refuse_private
from web import Deps, create_app
from web.deps import EXTENSION
from web.seats import Seats

KEYLESS_SECRET = new_secret()
REQUEST = {"model": "demo", "prompt": "a red heart"}


class Broker:
    """A broker on the store's own server, which takes cancels and may be down."""

    def __init__(self) -> None:
        self.down = False
        self.canceled: list[str] = []
        #: what workers were told, and who never answers
        self.told: list[tuple[str, str]] = []
        self.silent: set[str] = set()
        #: tickets by queue
        self.depths: dict[str, int] = {}

    def envelope(self, queue: str) -> Mapping[str, str]:
        return {"queue": queue, "message": "{}"}

    def publish(self, queue: str) -> None:
        raise AssertionError("the store pushed the ticket already")

    def depth(self, queue: str) -> int:
        if self.down:
            raise StoreUnavailable("the broker does not answer")
        return self.depths.get(queue, 0)

    def tell_worker(self, name: str, command: str) -> bool:
        self.told.append((name, command))
        return name not in self.silent

    def push_cancel(self, job: Job) -> None:
        if self.down:
            raise StoreUnavailable("the broker does not answer")
        self.canceled.append(job.id)


_made: list[Flask] = []


def application(deps: Deps) -> Flask:
    """The API on these parts; all share the routes of the first, whose making takes 50 ms."""
    if not _made:
        _made.append(create_app(deps))
    app = copy(_made[0])
    app.extensions = {EXTENSION: deps}
    return app


class Api:
    """The API, its client, and the parts behind it."""

    def __init__(self, shelf: Shelf, **parts: Any) -> None:
        self.shelf = shelf
        self.clock = ManualClock()
        self.store = MemoryJobStore(clock_ms=self.clock)
        self.keys = MemoryApiKeys(self.clock)
        self.tally = MemoryTally(self.store)
        self.broker = Broker()
        self.awaited = MemoryAwaited(self.clock)
        self.listeners = MemoryListeners(self.clock)
        self.seats = Seats(shelf.settings.api_listeners, self.listeners)
        own = Deps(
            settings=shelf.settings,
            catalog=shelf.catalog,
            library=shelf.library,
            uploads=self._uploads(parts),
            store=self.store,
            events=self.store,
            seats=self.seats,
            listeners=self.listeners,
            fleet=self.store,
            roster=Roster(self.store.workers, kept_s=0),
            tally=self.tally,
            ring=KeyRing(self.keys, kept_s=0),
            secrets=WebhookSecrets(lambda: KEYLESS_SECRET, self.keys, 60, self.clock),
            usage=self.store.used,
            queue=self.broker,
            objects=shelf.objects,
            images=Images(shelf.settings, MemoryImages(self.clock), shelf.objects),
            lookout=self._lookout(),
            tell_worker=self.broker.tell_worker,
            push_cancel=self.broker.push_cancel,
            check_webhook=refuse_private,
        )
        self.app = application(replace(own, **parts))
        self.client = self.app.test_client()

    def _uploads(self, parts: Mapping[str, Any]) -> AwaitedUploads:
        settings = parts.get("settings", self.shelf.settings)
        library = parts.get("library", self.shelf.library)
        return AwaitedUploads(settings, library, self.awaited, self.shelf.objects)

    def _lookout(self) -> Lookout:
        return Lookout(
            store=self.store,
            watch=MemoryWatch(self.store),
            tally=self.tally,
            tickets=self.broker,
            catalog=self.shelf.catalog,
            registry=self.shelf.registry,
            keys=self.keys,
            kept_s=0,
        )

    def submit(self, **fields: Any) -> str:
        """Submits a job and returns its id."""
        answer = self.client.post("/v1/jobs", json=REQUEST | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json["id"])  # type: ignore[index]

    def run(self, job_id: str) -> None:
        """Lets a worker claim the job."""
        model = self.store.get(job_id).spec.model
        assert self.store.claim(model, job_id, "worker@host", f"ticket of {job_id}")

    def finish(self, job_id: str, pictures: Sequence[bytes] = ()) -> None:
        """Lets a worker store pictures and end the job well."""
        self.run(job_id)
        outputs = []
        for index, data in enumerate(pictures):
            key = f"jobs/{job_id}/1/{index}.png"
            self.shelf.objects.put(key, data, "image/png")
            outputs.append(an_output(index=index, key=key, bytes=len(data), seed=index))
        outcome = Outcome(status=JobStatus.SUCCEEDED, outputs=tuple(outputs))
        lease = lease_of(self.store.claim("demo", None, "worker@host", f"ticket of {job_id}"))
        assert lease
        assert self.store.finish(lease, outcome)


def problem_of(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """The problem document, checked for what all of them share."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    document: dict[str, Any] = answer.get_json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == f"docs/troubleshooting.md#{code}"
    assert document["instance"] == answer.request.path
    assert document["title"]
    assert document["detail"]
    assert document["retryable"] == ("Retry-After" in answer.headers)
    return document
