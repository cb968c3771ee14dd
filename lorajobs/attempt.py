"""One attempt at a job, in the worker's child: fetch, apply, generate, store, finish."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from lorajobs.adapters.library import Library
from lorajobs.engine.base import Engine, LocalAdapter, Picture
from lorajobs.errors import (
    EngineFailed,
    JobCanceled,
    LeaseLost,
    LoraJobsError,
    OutOfMemory,
    StoreUnavailable,
    TimeLimit,
)
from lorajobs.jobs import (
    AppliedLora,
    Job,
    JobStatus,
    JobWarning,
    Lease,
    Metrics,
    Outcome,
    Output,
    Stage,
)
from lorajobs.pictures import describe, encode
from lorajobs.settings import Settings
from lorajobs.storage.base import ObjectStore
from lorajobs.store import LeaseStore, Progress, Signal

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds between two progress updates of one stage.
PROGRESS_S = 0.25
#: How long an outage of Redis may last before the end of a job is given up to its next attempt.
FINISH_PATIENCE_S = 60.0
FINISH_POLL_S = 0.1
FOREVER = float("inf")


class Page(Protocol):
    """What an attempt exchanges with the worker's parent, in memory."""

    def cancel_asked(self, lease: Lease) -> bool:
        """True if this attempt was asked to stop."""

    def say_loaded(self, adapters: Sequence[AppliedLora]) -> None:
        """Says which adapters are applied now."""

    def say_alive(self, within_s: float) -> None:
        """Promises another sign of life within so many seconds, or the parent takes it for hung."""


class Ending(Enum):
    """What an attempt came to."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    REQUEUED = "requeued"
    LOST = "lost"


_REQUEUE_ENDINGS = {
    JobStatus.QUEUED: Ending.REQUEUED,
    JobStatus.FAILED: Ending.FAILED,
    JobStatus.CANCELED: Ending.CANCELED,
    None: Ending.LOST,
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every attempt of one child works with."""

    settings: Settings
    store: LeaseStore
    library: Library
    engine: Engine
    objects: ObjectStore
    page: Page


def run(bench: Bench, lease: Lease) -> tuple[Ending, str]:
    """Runs one attempt to its end, whatever happens, and says how it ended and why."""
    job = _patiently(lambda: bench.store.get(lease.job_id))
    attempt = _Attempt(bench, lease, job)
    try:
        outcome = attempt.generate()
    except JobCanceled:
        outcome = attempt.outcome(JobStatus.CANCELED)
    except LeaseLost:
        log.warning("job %s: attempt %d lost its lease", *lease)
        return Ending.LOST, "another attempt owns the job"
    except Exception as error:
        return attempt.give_up(_as_ours(error))
    finally:
        bench.page.say_loaded(bench.engine.applied())
        bench.page.say_alive(FOREVER)
    if not _patiently(lambda: bench.store.finish(lease, outcome)):
        return Ending.LOST, "another attempt owns the job"
    return Ending(outcome.status), ""


def _as_ours(error: Exception) -> LoraJobsError:
    # A bare MemoryError that reached Celery would end the worker's main process.
    if isinstance(error, MemoryError):
        return OutOfMemory("the host ran out of memory")
    if isinstance(error, LoraJobsError):
        return error
    log.exception("attempt failed")
    return EngineFailed(f"{type(error).__name__}: {error}")


class _Attempt:
    """The state of one attempt: its clock, its progress and what it has measured."""

    def __init__(self, bench: Bench, lease: Lease, job: Job) -> None:
        self._bench = bench
        self._lease = lease
        self._job = job
        self._seconds: dict[str, float] = {}
        self._swapped: bool | None = None
        self._warnings: list[JobWarning] = list(job.warnings)
        self._stage = Stage.LOADING_ADAPTER
        self._step = 0
        self._told_at = 0.0
        # The attempt is in the key, so that a late attempt never overwrites a finished one.
        self._folder = f"{job.folder}{lease.attempt}/"
        self._ends_at = time.monotonic() + bench.settings.max_runtime_s

    def generate(self) -> Outcome:
        """The way of a job: each stage once, in order."""
        spec, bench = self._job.spec, self._bench
        self._enter(Stage.LOADING_ADAPTER)
        with self._timed("fetch_s"):
            local = [LocalAdapter(u, bench.library.ensure(u.adapter)) for u in spec.loras]
        self._alive(bench.settings.step_timeout_s)
        with self._timed("swap_s"):
            before = _set_of(bench.engine.applied())
            applied = bench.engine.apply(local)
            self._swapped = _set_of(applied) != before
        bench.page.say_loaded(applied)
        self._enter(Stage.DENOISING)
        with self._timed("generate_s"):
            made = bench.engine.generate(spec, self._on_step)
        self._warnings += made.warnings
        self._enter(Stage.UPLOADING)
        with self._timed("upload_s"):
            outputs = self._upload(made.pictures, applied)
        return self.outcome(JobStatus.SUCCEEDED, applied, outputs)

    def _upload(
        self, pictures: Sequence[Picture], applied: Sequence[AppliedLora]
    ) -> tuple[Output, ...]:
        spec, keep = self._job.spec, self._bench.settings.picture_metadata
        outputs = []
        for index, picture in enumerate(pictures):
            text = describe(spec, picture.seed, applied) if keep else None
            encoded = encode(picture.image, spec.output, text)
            key = f"{self._folder}{index}.{spec.output.format}"
            self._bench.objects.put(key, encoded.data, encoded.content_type)
            outputs.append(
                Output(
                    index=index,
                    key=key,
                    content_type=encoded.content_type,
                    width=encoded.width,
                    height=encoded.height,
                    bytes=len(encoded.data),
                    sha256=encoded.sha256,
                    seed=picture.seed,
                )
            )
        return tuple(outputs)

    def outcome(
        self,
        status: JobStatus,
        applied: Sequence[AppliedLora] = (),
        outputs: tuple[Output, ...] = (),
        error: LoraJobsError | None = None,
    ) -> Outcome:
        """What is reported of this attempt."""
        started = self._job.started_ms or self._job.created_ms
        return Outcome(
            status=status,
            applied_loras=tuple(applied),
            outputs=outputs,
            # A job submitted again has the old one's already.
            warnings=tuple(dict.fromkeys(self._warnings)),
            error=error.as_job_error() if error else None,
            metrics=Metrics(
                queue_s=(started - self._job.created_ms) / 1000,
                swapped=self._swapped,
                **self._seconds,
            ),
        )

    def give_up(self, error: LoraJobsError) -> tuple[Ending, str]:
        """Puts the job back if another try can help, else fails it."""
        store, lease = self._bench.store, self._lease
        self._erase()
        if error.retryable:
            delay = min(60.0, 2.0**lease.attempt)
            status = _patiently(lambda: store.requeue(lease, error.as_job_error(), delay_s=delay))
            return _REQUEUE_ENDINGS[status], f"{error.code}: {error.detail}"
        outcome = self.outcome(JobStatus.FAILED, error=error)
        if not _patiently(lambda: store.finish(lease, outcome)):
            return Ending.LOST, "another attempt owns the job"
        return Ending.FAILED, f"{error.code}: {error.detail}"

    def _erase(self) -> None:
        with suppress(LoraJobsError, OSError):
            self._bench.objects.delete(self._folder)

    def _enter(self, stage: Stage) -> None:
        settings = self._bench.settings
        # Network calls have their own timeouts; only the engine can hang without a word.
        engine = stage is Stage.DENOISING
        self._alive(settings.step_timeout_s if engine else settings.max_runtime_s)
        self._stage = stage
        self._tell()

    def _alive(self, within_s: float) -> None:
        self._bench.page.say_alive(within_s)

    def _on_step(self, step: int) -> None:
        self._step = step
        self._alive(self._bench.settings.step_timeout_s)
        if self._bench.page.cancel_asked(self._lease):
            raise JobCanceled
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

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = round(time.perf_counter() - begun, 4)


def _set_of(adapters: Sequence[AppliedLora]) -> frozenset[tuple[str, float]]:
    return frozenset((adapter.sha256, adapter.scale) for adapter in adapters)


def _patiently(write: Callable[[], T]) -> T:
    """Asks again through an outage of Redis; the job is rescued if it lasts."""
    ends_at = time.monotonic() + FINISH_PATIENCE_S
    while True:
        try:
            return write()
        except StoreUnavailable:
            if time.monotonic() > ends_at:
                raise
            time.sleep(FINISH_POLL_S)
