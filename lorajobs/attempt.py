"""One attempt at a job, in the worker's child: fetch, apply, generate, store."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from lorajobs import logs
from lorajobs.adapters.library import Library
from lorajobs.bases import LOAD_S, Bases
from lorajobs.ending import Ending
from lorajobs.engine.base import Engine, Generation, LocalAdapter
from lorajobs.errors import (
    JobCanceled,
    LeaseLost,
    LoraJobsError,
    StoreUnavailable,
    TimeLimit,
    UploadFailed,
    WorkerLost,
    WorkerStopping,
)
from lorajobs.faults import Faults
from lorajobs.finisher import Finisher
from lorajobs.images import open_source
from lorajobs.jobs import AppliedLora, Job, JobStatus, JobWarning, Lease, Outcome, Outputs, Stage
from lorajobs.moderation import ImageChecker
from lorajobs.outputs import store_outputs
from lorajobs.patience import FINISH_PATIENCE_S, patiently
from lorajobs.report import AttemptReport, Measurement
from lorajobs.screening import require_any, screened
from lorajobs.settings import Settings
from lorajobs.storage.base import ObjectStore
from lorajobs.store import LeaseStore, Progress, Signal
from lorajobs.worker_page import WorkerPage

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds between two progress updates of one stage.
PROGRESS_S = 0.25
FOREVER = float("inf")


#: Told of an attempt what came of it, and why.
Tell = Callable[[Lease, AttemptReport, str], None]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every attempt of one child works with."""

    settings: Settings
    store: LeaseStore
    library: Library
    bases: Bases
    objects: ObjectStore
    page: WorkerPage
    finisher: Finisher
    #: hears how an attempt ended of which `run` did not tell
    tell: Tell
    checker: ImageChecker | None = None
    #: how long an outage of the object store may last before an attempt is given up
    upload_patience_s: float = FINISH_PATIENCE_S
    #: held while an attempt generates
    busy: threading.Lock = field(default_factory=threading.Lock)
    #: held while the checker looks: several attempts may end at a time
    checking: threading.Lock = field(default_factory=threading.Lock)


class Attempt:
    """The state of one attempt: its clock, its progress and what it has measured."""

    def __init__(self, bench: Bench, lease: Lease, job: Job) -> None:
        self._bench = bench
        self._lease = lease
        self._job = job
        self._measured = Measurement()
        self._warnings: list[JobWarning] = list(job.warnings)
        self._applied: Sequence[AppliedLora] = ()
        self._made = Generation(tuple, ())
        self._stage = Stage.LOADING_ADAPTER
        self._step = 0
        self._told_at = 0.0
        # The attempt is in the key, so that a late attempt never overwrites a finished one.
        self._folder = f"{job.folder}{lease.attempt}/"
        self._ends_at = time.monotonic() + bench.settings.max_runtime_s

    def about(self) -> AbstractContextManager[None]:
        """Whatever this thread logs within is about this attempt."""
        return logs.about_job(self._job, self._lease.attempt)

    def generate(self) -> None:
        """The way of a job to its pictures: each stage once, in order."""
        spec, bench = self._job.spec, self._bench
        source = open_source(self._job, bench.objects)
        engine = self._warm()
        self._enter(Stage.LOADING_ADAPTER)
        applied = self._swap(engine)
        bench.page.say_loaded(applied)
        self._enter(Stage.DENOISING)
        with self._measured.timed("generate_s"):
            self._made = engine.generate(spec, self._on_step, source)
        self._applied = applied
        self._measured.stop()

    def store(self) -> Outcome:
        """The rest of it, beside the next job: the device may still decode."""
        bench = self._bench
        with self._measured.timed("generate_s"):
            made = self._made.pictures
        logs.step("generated", generate_ms=self._measured.took_ms("generate_s"))
        with bench.checking, self._measured.timed("check_s"):
            made, warnings = screened(made, bench.checker)
        self._warnings += [*self._made.warnings, *warnings]
        self._measured.withheld = sum(bool(picture.nsfw) for picture in made)
        require_any(made)
        self._stage = Stage.UPLOADING
        self._tell()
        with self._measured.timed("upload_s"):
            described = bench.settings.picture_metadata
            outputs = store_outputs(
                made,
                self._job.spec,
                self._applied,
                self._folder,
                self._put,
                described=described,
            )
        logs.step("stored", upload_ms=self._measured.took_ms("upload_s"))
        return self.outcome(JobStatus.SUCCEEDED, self._applied, outputs)

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        """Stores a picture, if need be after an outage: to make it again would cost more."""
        bench = self._bench
        patiently(
            lambda: bench.objects.put(key, data, content_type),
            UploadFailed,
            bench.upload_patience_s,
            bench.page.must_stop,
        )

    def _warm(self) -> Engine:
        """The engine of the job's base, loaded in place of another if need be."""
        bases, model = self._bench.bases, self._job.spec.model
        if bases.has(model):
            return bases.engine(model)
        self._enter(Stage.LOADING_BASE)
        self._bench.page.say_loaded(())
        try:
            with self._measured.timed("base_s"):
                return bases.engine(model)
        finally:
            # The time that a job may take is its own.
            self._ends_at = time.monotonic() + self._bench.settings.max_runtime_s

    def _swap(self, engine: Engine) -> Sequence[AppliedLora]:
        """Applies the job's adapters, whose files stay on the disk until they were read."""
        bench, loras = self._bench, self._job.spec.loras
        before = _set_of(engine.applied())
        faults, files = Faults(self._job.spec.on_lora_error, self._warnings), []
        with ExitStack() as held:
            with self._measured.timed("fetch_s"):
                for use in loras:
                    with faults.skipped():
                        its = [
                            held.enter_context(bench.library.ensure(file))
                            for file in use.adapter.files
                        ]
                        files.append((use, its))
            as_before = {(use.adapter.key, use.scale) for use in loras} == before
            self._measured.tiers.update("applied" if as_before else f[0].tier for _, f in files)
            self._alive(bench.settings.step_timeout_s)
            with self._measured.timed("swap_s"):
                local = [LocalAdapter(use, *(file.path for file in its)) for use, its in files]
                applied = engine.apply(faults.without(local, engine))
                self._measured.swapped = _set_of(applied) != before
        measured = self._measured
        took = {f"{name}_ms": measured.took_ms(f"{name}_s") for name in ("fetch", "swap")}
        with logs.about(swapped=measured.swapped, tiers=dict(measured.tiers), **took):
            logs.step("adapters applied")
        return applied

    def outcome(
        self,
        status: JobStatus,
        applied: Sequence[AppliedLora] = (),
        outputs: Outputs = (),
        error: LoraJobsError | None = None,
    ) -> Outcome:
        """What is reported of this attempt."""
        return Outcome(
            status=status,
            applied_loras=tuple(applied),
            outputs=outputs,
            # A job submitted again has the old one's already.
            warnings=tuple(dict.fromkeys(self._warnings)),
            error=error.as_job_error() if error else None,
            metrics=self._measured.metrics(self._job.queue_s),
        )

    def report(self, ending: Ending) -> AttemptReport:
        """What the parent is told of this attempt."""
        return self._measured.report(self._job.spec.model, ending, self._job.queue_s)

    def hand_back(self) -> tuple[Ending, str]:
        """Puts the job back for another worker at once; the attempt does not count."""
        error = WorkerLost("the worker is shutting down")
        return self._put_back(error, refund=True), error.detail

    def _put_back(
        self, error: LoraJobsError, *, delay_s: float = 0.0, refund: bool = False
    ) -> Ending:
        store, lease, reason = self._bench.store, self._lease, error.as_job_error()
        status = patiently(lambda: store.requeue(lease, reason, delay_s=delay_s, refund=refund))
        return Ending.after_requeue(status, refund=refund)

    def give_up(self, error: LoraJobsError) -> tuple[Ending, str]:
        """Puts the job back if another try can help, else fails it."""
        store, lease = self._bench.store, self._lease
        self._erase()
        if error.retryable:
            ending = self._put_back(error, delay_s=min(60.0, 2.0**lease.attempt))
            return ending, f"{error.code}: {error.detail}"
        outcome = self.outcome(JobStatus.FAILED, error=error)
        if not patiently(lambda: store.finish(lease, outcome)):
            return Ending.LOST, "another attempt owns the job"
        return Ending.FAILED, f"{error.code}: {error.detail}"

    def _erase(self) -> None:
        with suppress(LoraJobsError, OSError):
            self._bench.objects.delete(self._folder)

    def _enter(self, stage: Stage) -> None:
        settings = self._bench.settings
        # Network calls have their own timeouts; only the engine can hang without a word.
        within_s = {
            Stage.LOADING_BASE: LOAD_S,
            Stage.DENOISING: settings.step_timeout_s,
        }
        self._alive(within_s.get(stage, settings.max_runtime_s))
        self._stage = stage
        self._tell()

    def _alive(self, within_s: float) -> None:
        self._bench.page.say_alive(within_s)

    def _on_step(self, step: int) -> None:
        self._step = step
        self._alive(self._bench.settings.step_timeout_s)
        if self._bench.page.cancel_asked(self._lease):
            raise JobCanceled
        if self._bench.page.must_stop():
            raise WorkerStopping
        if time.monotonic() > self._ends_at:
            limit = self._bench.settings.max_runtime_s
            raise TimeLimit(f"stopped after max_runtime_s = {limit:g} seconds")
        if step == self._job.steps:
            self._stage = Stage.DECODING
        elif time.monotonic() - self._told_at < PROGRESS_S:
            return
        self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        try:
            progress = Progress(self._stage, self._step, self._job.steps)
            signal = self._bench.store.renew(self._lease, progress)
        except StoreUnavailable as error:
            # Progress may be lost, the end may not: finish waits for Redis.
            log.warning("job %s: progress not told: %s", self._job.id, error)
            return
        if signal is Signal.LOST:
            raise LeaseLost
        # Past the decode the picture is made: storing it costs less than throwing it away.
        if signal is Signal.CANCEL and self._stage is not Stage.UPLOADING:
            raise JobCanceled


def _set_of(adapters: Sequence[AppliedLora]) -> frozenset[tuple[str, float]]:
    return frozenset((adapter.key, adapter.scale) for adapter in adapters)
