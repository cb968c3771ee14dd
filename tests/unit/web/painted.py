"""An API whose jobs are painted while a request waits for them: no worker, no thread, no sleep."""

from collections.abc import Sequence
from typing import Any

from lorajobs.bases import Bases
from lorajobs.engine.base import Engine
from lorajobs.engine.paint import PaintEngine
from lorajobs.events import Event
from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus
from lorajobs.moderation import ImageChecker
from lorajobs.worker_page import WorkerPage
from tests.attempts import run_whole
from tests.jobs import lease_of
from tests.shelf import Shelf
from tests.unit.web.api import Api


class Painter:
    """The log of events that requests wait on; who asks it for a waiting job gets it painted."""

    def __init__(self) -> None:
        self.api: Api
        #: False once nobody works
        self.works = True
        #: who looks at the pictures
        self.checker: ImageChecker | None = None
        page = WorkerPage()
        self._page, self._bases = page, Bases(self._open, page.say_base)

    def events(self, job_id: str, after: str, block_s: float) -> Sequence[Event]:
        job = self.api.store.get(job_id)
        if self.works and job.status is JobStatus.QUEUED:
            self.paint(job)
        return self.api.store.events(job_id, after, block_s)

    def paint(self, job: Job) -> None:
        """One whole attempt, as a worker's child makes it."""
        store, shelf = self.api.store, self.api.shelf
        lease = lease_of(store.claim(job.spec.model, job.id, "painter@host", f"of {job.id}"))
        assert lease
        run_whole(
            lease,
            store,
            settings=shelf.settings,
            library=shelf.library,
            bases=self._bases,
            objects=shelf.objects,
            page=self._page,
            checker=self.checker,
        )

    def _open(self, model: str) -> Engine:
        engine = PaintEngine()
        engine.load()
        return engine


class PaintedApi(Api):
    """An API with such a painter."""

    def __init__(self, shelf: Shelf, **parts: Any) -> None:
        self.painter = Painter()
        super().__init__(shelf, events=self.painter, **parts)
        self.painter.api = self

    @property
    def jobs(self) -> Sequence[Job]:
        """All jobs, the newest first."""
        return self.store.page(JobFilter(), 100, None).jobs
