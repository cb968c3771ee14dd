"""Brings the next jobs' adapters onto this machine's disk, so that no GPU waits for a source.

Those of the very next ones go on from there into host memory, while another job runs.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Protocol

from lorajobs.engine.base import LocalAdapter
from lorajobs.errors import (
    JobNotFound,
    LoraJobsError,
    NoRoomAhead,
    StorageUnavailable,
    StoreUnavailable,
)
from lorajobs.groups import shas_of
from lorajobs.jobs import Job
from lorajobs.report import FetchReport
from lorajobs.snapshot import WaitingJob
from lorajobs.spec import PinnedFile
from lorajobs.store import LeaseStore, Workers

log = logging.getLogger(__name__)

#: Sources that are asked at once, so that a slow one does not delay the others.
THREADS = 4
#: Waiting jobs whose adapters are brought ahead.
AHEAD = 16
#: Of these, those whose adapters go into host memory; more could push out what is needed sooner.
STAGED = 4
#: Seconds after which adapters are staged again that are not in host memory.
RESTAGE_S = 30.0
PERIOD_S = 0.5
RETRY_S = 2.0
#: Seconds between two tries at most.
LONGEST_S = 60.0
#: Seconds without a fetch once the disk holds nothing but what waiting jobs need.
FULL_S = 2.0


class Found(Protocol):
    """An adapter's file that is held."""

    @property
    def tier(self) -> str:
        """Where it was: `disk`, or `remote` if it had to be fetched."""

    @property
    def path(self) -> Path:
        """Where it is."""


class Shelf(Protocol):
    """The adapters on this machine."""

    def keep(self, sha256: str) -> bool:
        """True if the file is on this machine's disk; it then stays until well after a look."""

    def ensure(self, adapter: PinnedFile, *, ahead: bool) -> AbstractContextManager[Found]:
        """Fetches the file unless it is here, and holds it.

        Raises: LoraJobsError; trying again can help if it is retryable. NoRoomAhead.
        """


class HostMemory(Protocol):
    """Where the base that is loaded has adapters ready."""

    def lacks(self, model: str, group: str) -> bool:
        """True if this base is loaded and could have the group's adapters ready, but has not."""

    def stage(self, model: str, adapters: Sequence[LocalAdapter]) -> None:
        """Makes them ready, beside a generation.

        Raises: LoraJobsError.
        """


class Fleet:
    """The machines whose workers may run a job, this one among them."""

    def __init__(self, workers: Workers, host: str) -> None:
        self._workers = workers
        self.host = host

    def hosts(self, model: str) -> int:
        """On how many machines this base is served.

        Raises: StoreUnavailable.
        """
        live = [worker for worker in self._workers.workers() if worker.serves(model)]
        return len({self.host, *(worker.name.partition("@")[2] for worker in live)})


class Fetcher:
    """Looks at the queues of a worker's bases again and again; runs in the worker's child."""

    def __init__(
        self,
        store: LeaseStore,
        shelf: Shelf,
        memory: HostMemory,
        fleet: Fleet,
        models: Sequence[str],
        max_attempts: int,
        report: Callable[[FetchReport], None] = lambda report: None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """`pause` waits for so many seconds, or until something is to be fetched at once."""
        self._store = store
        self._shelf = shelf
        self._memory = memory
        self._fleet = fleet
        self._models = models
        self._max_attempts = max_attempts
        self._report = report
        self._pause = pause
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="fetcher")
        self._busy: dict[str, Future[None]] = {}
        #: tries that failed, and when the next may be made
        self._failed: dict[str, tuple[int, float]] = {}
        self._full_until = 0.0
        #: groups that were staged, and when by the monotonic clock
        self._staged: dict[str, float] = {}

    def start(self) -> None:
        """Starts to look, until the process ends."""
        threading.Thread(target=self._run, name="fetcher", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except StoreUnavailable as error:
                log.warning("nothing fetched ahead: %s", error)
            except Exception:
                log.exception("nothing fetched ahead")
            self._pause(PERIOD_S)

    def look(self) -> None:
        """Starts to fetch what the next jobs need and is not here.

        Raises: StoreUnavailable.
        """
        self._forget()
        for model in self._models:
            self._look_at(model)

    def _look_at(self, model: str) -> None:
        seen = self._store.snapshot(model, limit=AHEAD)
        for number, waiting in enumerate(seen.next(AHEAD)):
            missing = [s for s in shas_of(waiting.group) if not self._shelf.keep(s)]
            if not missing and number < STAGED:
                self._look_into_memory(model, waiting)
            if not missing or waiting.id in self._busy or time.monotonic() < self._full_until:
                continue
            if any(time.monotonic() < self._failed.get(s, (0, 0.0))[1] for s in missing):
                continue
            self._busy[waiting.id] = self._pool.submit(self._bring, waiting.id)

    def _look_into_memory(self, model: str, waiting: WaitingJob) -> None:
        now = time.monotonic()
        if waiting.id in self._busy or not self._memory.lacks(model, waiting.group):
            return
        # What was refused, or pushed out at once, is not tried at each look.
        if now - self._staged.get(waiting.group, -RESTAGE_S) >= RESTAGE_S:
            self._staged = {g: at for g, at in self._staged.items() if now - at < RESTAGE_S}
            self._staged[waiting.group] = now
            self._busy[waiting.id] = self._pool.submit(self._stage, waiting.id)

    def _stage(self, job_id: str) -> None:
        try:
            job = self._store.get(job_id)
            with ExitStack() as held:
                local = [
                    LocalAdapter(
                        use,
                        *(
                            held.enter_context(self._shelf.ensure(file, ahead=True)).path
                            for file in use.adapter.files
                        ),
                    )
                    for use in job.spec.loras
                ]
                self._memory.stage(job.spec.model, local)
        except (LoraJobsError, NoRoomAhead) as error:
            # The attempt itself says what is wrong.
            log.info("job %s: nothing staged: %s", job_id, error)
        except Exception:
            log.exception("job %s: nothing staged", job_id)

    def finish(self) -> None:
        """Waits until all that was started has ended."""
        wait(list(self._busy.values()))
        self._forget()

    def _forget(self) -> None:
        for job_id in [job_id for job_id, bringing in self._busy.items() if bringing.done()]:
            del self._busy[job_id]

    def _bring(self, job_id: str) -> None:
        try:
            job = self._store.get(job_id)
            for file in (file for use in job.spec.loras for file in use.adapter.files):
                self._fetch(job, file)
        except JobNotFound:
            pass
        except StoreUnavailable as error:
            log.warning("job %s: nothing fetched ahead: %s", job_id, error)
        except Exception:
            log.exception("job %s: nothing fetched ahead", job_id)

    def _fetch(self, job: Job, adapter: PinnedFile) -> None:
        try:
            with self._shelf.ensure(adapter, ahead=True) as found:
                self._failed.pop(adapter.sha256, None)
            if found.tier == "remote":
                self._report(FetchReport(base=job.spec.model, fetched=True))
        except NoRoomAhead:
            # What is here goes on being kept; there is room once some of those jobs have run.
            self._full_until = time.monotonic() + FULL_S
            log.info("job %s: no room yet for %s", job.id, adapter.sha256)
        except LoraJobsError as error:
            self._report(FetchReport(base=job.spec.model, fetched=False))
            self._count(job, adapter, error)

    def _count(self, job: Job, adapter: PinnedFile, error: LoraJobsError) -> None:
        """Plans the next try, or fails the job where no machine can help it any more."""
        tries = self._failed.get(adapter.sha256, (0, 0.0))[0] + 1
        self._failed[adapter.sha256] = tries, time.monotonic() + min(RETRY_S**tries, LONGEST_S)
        # What all jobs share says nothing of this one's source.
        is_shared = isinstance(error, StoreUnavailable | StorageUnavailable)
        if is_shared or (error.retryable and tries < self._max_attempts):
            log.warning("job %s: try %d: %s", job.id, tries, error.detail)
            return
        if not error.retryable:
            failed = self._store.refuse(job.id, error.as_job_error())
        else:
            hosts = self._fleet.hosts(job.spec.model)
            failed = self._store.refuse(job.id, error.as_job_error(), self._fleet.host, hosts)
        if failed:
            # The next job that names it is due a fresh start: its source may be back by then.
            del self._failed[adapter.sha256]
        what = "refused" if failed else "given up on this machine"
        log.warning("job %s: %s: %s", job.id, what, error.detail)
