"""A bench with a painting engine, a memory store and a real folder store, to run attempts on."""

from pathlib import Path
from typing import Any

from lorajobs.adapters.library import Library
from lorajobs.adapters.registry import MemoryLoraRegistry
from lorajobs.bases import Bases
from lorajobs.catalog import Catalog
from lorajobs.ending import Ending
from lorajobs.engine.base import Engine
from lorajobs.engine.paint import PaintEngine
from lorajobs.jobs import Job, Lease
from lorajobs.settings import Settings
from lorajobs.spec import AdapterUse
from lorajobs.storage.folder import FolderStore
from lorajobs.testing import ManualClock, MemoryJobStore
from lorajobs.worker_page import WorkerPage
from tests.attempts import run_whole
from tests.jobs import lease_of, use


class Shop:
    """A bench and what a test wants to see of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, **settings)
        self.clock = ManualClock()
        self.store = MemoryJobStore(clock_ms=self.clock)
        self.objects = FolderStore(folder / "objects", "http://localhost", 60)
        self.page = WorkerPage()
        self.catalog = Catalog.load(None)
        self.library = Library(self.settings, self.catalog, MemoryLoraRegistry(), self.objects)
        self.engine = PaintEngine()
        self.engine.load()

    def pinned(self, name: str, scale: float = 1.0) -> AdapterUse:
        record = self.library.find(name)
        assert record is not None
        return use(name, scale).model_copy(update={"adapter": self.library.pin(record)})

    def run(
        self, job: Job, ticket: str = "t1", engine: Engine | None = None, **parts: object
    ) -> tuple[Ending, str]:
        self.store.submit(job, None)
        lease = lease_of(self.store.claim("demo", job.id, "w1", ticket))
        assert lease is not None
        return self.attempt(lease, engine, **parts)

    def attempt(
        self, lease: Lease, engine: Engine | None = None, **parts: object
    ) -> tuple[Ending, str]:
        bases = Bases(lambda model: engine or self.engine, self.page.say_base)
        bases.engine("demo")
        own = {
            "settings": self.settings,
            "store": self.store,
            "library": self.library,
            "bases": bases,
            "objects": self.objects,
            "page": self.page,
        }
        return run_whole(lease, **(own | parts))  # type: ignore[arg-type]
