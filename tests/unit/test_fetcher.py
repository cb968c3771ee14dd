"""The fetcher: what the next jobs need is brought, what can never come fails its job."""

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from lorajobs.engine.base import LocalAdapter
from lorajobs.errors import LoraFetchFailed, LoraInvalidFile, NoRoomAhead, StorageUnavailable
from lorajobs.fetcher import STAGED, Fetcher, Fleet
from lorajobs.groups import shas_of
from lorajobs.job_page import JobFilter
from lorajobs.jobs import Job, JobStatus
from lorajobs.report import FetchReport
from lorajobs.spec import PinnedFile
from lorajobs.store import WorkerState
from lorajobs.testing import MemoryJobStore
from tests.jobs import a_job, an_adapter, use


class Found(NamedTuple):
    """A file that is held."""

    tier: str
    path: Path


class Shelf:
    """Adapters that arrive when they are asked for, unless they are told to be dead or bad."""

    def __init__(self) -> None:
        self.here: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.dead: set[str] = set()
        self.bad: set[str] = set()
        self.down: set[str] = set()
        self.no_room: set[str] = set()
        self.changed = threading.Condition()

    def keep(self, sha256: str) -> bool:
        return sha256 in self.here

    def ensure(self, adapter: PinnedFile, *, ahead: bool) -> nullcontext[Found]:
        with self.changed:
            self.asked[adapter.id] += 1
            self.changed.notify_all()
            if adapter.id in self.down:
                raise StorageUnavailable("no answer")
            if adapter.id in self.dead:
                raise LoraFetchFailed("no answer")
            if adapter.id in self.bad:
                raise LoraInvalidFile("a web page")
            if ahead and adapter.id in self.no_room:
                raise NoRoomAhead
            tier = "disk" if adapter.sha256 in self.here else "remote"
            self.here.add(adapter.sha256)
        return nullcontext(Found(tier, Path(adapter.sha256)))


class Memory:
    """Of one base; what it is told to refuse never gets there."""

    def __init__(self, model: str = "demo") -> None:
        self.model = model
        self.here: set[str] = set()
        self.bad: set[str] = set()
        self.staged: list[str] = []

    def lacks(self, model: str, group: str) -> bool:
        return model == self.model and not {*shas_of(group)} <= self.here

    def stage(self, model: str, adapters: Sequence[LocalAdapter]) -> None:
        for local in adapters:
            self.staged.append(local.use.adapter.id)
            if local.use.adapter.id in self.bad:
                raise LoraInvalidFile("no adapter")
            self.here.add(local.path.name)


class Desk:
    """A store, a shelf and a fetcher that looks when it is told to."""

    def __init__(self, max_attempts: int = 2) -> None:
        self.store = MemoryJobStore()
        self.shelf = Shelf()
        self.memory = Memory()
        self.told: list[FetchReport] = []
        fleet = Fleet(self.store, "here")
        self.fetcher = Fetcher(
            self.store, self.shelf, self.memory, fleet, ["demo"], max_attempts, self.told.append
        )

    def submit(self, *names: str) -> Job:
        job = a_job(loras=tuple(use(name) for name in names))
        self.store.submit(job, None)
        return job

    def asked(self, name: str, times: int) -> bool:
        with self.shelf.changed:
            return self.shelf.changed.wait_for(lambda: self.shelf.asked[name] >= times, 10)

    def settled(self, job: Job) -> Job:
        """The job once its fetch has ended."""
        self.fetcher.finish()
        return self.store.get(job.id)


def test_a_machine_that_gets_nothing_fails_no_job_that_another_may_still_fetch_for() -> None:
    desk = Desk(max_attempts=1)
    desk.shelf.dead.add("gone")
    desk.store.put_worker(WorkerState("demo-1@there", "demo", "warm", (), None), 60)
    job = desk.submit("gone")
    desk.fetcher.look()
    assert desk.asked("gone", 1)
    assert desk.settled(job).status is JobStatus.QUEUED
    other = Fetcher(desk.store, desk.shelf, Memory(), Fleet(desk.store, "there"), ["demo"], 1)
    other.look()
    assert desk.asked("gone", 2)
    other.finish()
    assert desk.store.get(job.id).status is JobStatus.FAILED


def test_storage_that_is_down_fails_no_job() -> None:
    desk = Desk(max_attempts=1)
    desk.shelf.down.add("pixel")
    job = desk.submit("pixel")
    desk.fetcher.look()
    assert desk.asked("pixel", 1)
    assert desk.settled(job).status is JobStatus.QUEUED


def test_adapters_of_waiting_jobs_are_brought_once() -> None:
    desk = Desk()
    desk.submit("pixel", "soft3d")
    desk.submit()
    desk.fetcher.look()
    assert desk.asked("soft3d", 1)
    desk.fetcher.finish()
    assert desk.shelf.here == {an_adapter("pixel").sha256, an_adapter("soft3d").sha256}
    desk.memory.model = "another"
    desk.fetcher.look()
    desk.fetcher.finish()
    assert desk.shelf.asked == {"pixel": 1, "soft3d": 1}


def test_a_refused_source_fails_its_job_before_any_attempt() -> None:
    desk = Desk()
    desk.shelf.bad.add("page")
    job, fine = desk.submit("page"), desk.submit("pixel")
    desk.fetcher.look()
    got = desk.settled(job)
    assert (got.status, got.attempt) == (JobStatus.FAILED, 0)
    assert got.error is not None
    assert got.error.code == "lora_invalid_file"
    assert desk.store.get(fine.id).status is JobStatus.QUEUED


def test_a_dead_source_is_tried_again_with_pauses_then_fails_its_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lorajobs.fetcher.RETRY_S", 0.0)
    desk = Desk(max_attempts=3)
    desk.shelf.dead.add("gone")
    job = desk.submit("gone")
    for tries in (1, 2):
        desk.fetcher.look()
        assert desk.settled(job).status is JobStatus.QUEUED
        assert desk.shelf.asked["gone"] == tries
    desk.fetcher.look()
    got = desk.settled(job)
    assert got.status is JobStatus.FAILED
    assert got.error is not None
    assert (got.error.code, got.error.retryable) == ("lora_fetch_failed", True)


def test_no_second_try_before_the_pause_is_over() -> None:
    desk = Desk()
    desk.shelf.dead.add("gone")
    job = desk.submit("gone")
    desk.fetcher.look()
    desk.settled(job)
    desk.fetcher.look()
    assert desk.settled(job).status is JobStatus.QUEUED
    assert desk.shelf.asked["gone"] == 1


def test_a_canceled_job_is_left_alone() -> None:
    desk = Desk()
    desk.shelf.bad.add("page")
    job = desk.submit("page")
    desk.store.cancel(job.id)
    desk.fetcher.look()
    assert desk.settled(job).status is JobStatus.CANCELED
    assert not desk.shelf.asked


def test_a_full_disk_is_no_failure_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorajobs.fetcher.FULL_S", 0.0)
    desk = Desk(max_attempts=1)
    desk.shelf.no_room.add("large")
    job = desk.submit("large")
    for _ in range(3):
        desk.fetcher.look()
        assert desk.settled(job).status is JobStatus.QUEUED
    assert desk.shelf.asked["large"] == 3
    desk.shelf.no_room.clear()
    desk.fetcher.look()
    desk.settled(job)
    assert desk.shelf.here == {an_adapter("large").sha256}


def test_a_full_disk_is_left_in_peace_for_a_while() -> None:
    desk = Desk()
    desk.shelf.no_room.add("large")
    job = desk.submit("large")
    desk.fetcher.look()
    desk.settled(job)
    desk.submit("pixel")
    desk.fetcher.look()
    desk.fetcher.finish()
    assert desk.shelf.asked == {"large": 1}


def test_what_was_fetched_and_what_was_not_is_told() -> None:
    desk = Desk()
    desk.shelf.dead.add("gone")
    desk.shelf.here.add(an_adapter("here").sha256)
    for names in (("here", "pixel"), ("gone",)):
        desk.submit(*names)
    desk.fetcher.look()
    desk.fetcher.finish()
    assert sorted(report.fetched for report in desk.told) == [False, True]


def _here(desk: Desk, *names: str) -> None:
    """Jobs of these adapters, one each, whose files are on the disk."""
    for name in names:
        desk.shelf.here.add(an_adapter(name).sha256)
        desk.submit(name)


def _looked(desk: Desk) -> list[str]:
    """What was staged by now, after one more look."""
    desk.fetcher.look()
    desk.fetcher.finish()
    return desk.memory.staged


def test_what_the_next_jobs_need_goes_on_into_memory_once() -> None:
    desk = Desk()
    names = [f"adapter-{number}" for number in range(STAGED + 2)]
    _here(desk, *names)
    assert sorted(_looked(desk)) == names[:STAGED]
    assert sorted(_looked(desk)) == names[:STAGED]


def test_what_is_not_on_the_disk_is_brought_there_first() -> None:
    desk = Desk()
    desk.submit("pixel", "soft3d")
    assert _looked(desk) == []
    assert _looked(desk) == ["pixel", "soft3d"]


def test_what_memory_refuses_is_left_to_its_job() -> None:
    desk = Desk()
    desk.memory.bad.add("page")
    _here(desk, "page", "pixel")
    assert sorted(_looked(desk)) == ["page", "pixel"]
    assert sorted(_looked(desk)) == ["page", "pixel"]
    assert {job.status for job in desk.store.page(JobFilter(), 10, None).jobs} == {JobStatus.QUEUED}


def test_nothing_is_staged_for_a_base_that_is_not_loaded() -> None:
    desk = Desk()
    desk.memory.model = "another"
    _here(desk, "pixel")
    assert _looked(desk) == []
