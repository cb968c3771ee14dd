"""A worker's parent exchanges tickets for jobs, on a real Valkey and broker."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorajobs.adapters.cache import DiskCache
from lorajobs.catalog import DEMO, Catalog
from lorajobs.celery import make_app
from lorajobs.groups import shas_of
from lorajobs.jobs import AppliedLora, Job, JobStatus
from lorajobs.parent import AdaptersOnTheWay, BaseElsewhere, Held, Parent
from lorajobs.redis_client import connect
from lorajobs.redis_store import RedisJobStore
from lorajobs.settings import Settings
from lorajobs.snapshot import SNAPSHOT_LIMIT, Snapshot
from lorajobs.store import WorkerState
from lorajobs.store_errors import RecordUnreadable
from lorajobs.tickets import TicketQueue
from lorajobs.worker_page import WorkerPage
from tests.jobs import a_job, an_adapter, use

LOAD_S = 1000.0
NO_PATIENCE = {"fetch_timeout_s": 0.0}


class Plant:
    """A parent of two bases, with what it sees."""

    def __init__(self, client: Any, settings: Settings, folder: Path) -> None:
        config = folder / "lorajobs.toml"
        path = DEMO.parent / "base"
        config.write_text(f'[models.demo]\npath = "{path}"\n[models.twin]\npath = "{path}"\n')
        catalog = Catalog.load(config)
        self.client = client
        self.app = make_app(settings)
        self.store = RedisJobStore(client)
        self.here: set[str] = set()
        self.tickets = TicketQueue(self.app, settings)
        self.parent = Parent(
            settings=settings,
            name="me",
            entries=[catalog.require("demo"), catalog.require("twin")],
            store=self.store,
            workers=self.store,
            rescuing=self.store,
            catalog=catalog,
            queue=self.tickets,
            page=WorkerPage(),
            is_here=self.here.__contains__,
            census=DiskCache.of(settings).census,
        )
        self.parent.page.say_base("demo", LOAD_S)

    def submit(self, model: str, *loras: str, **fields: Any) -> Job:
        job = a_job(model=model, loras=tuple(use(name) for name in loras), **fields)
        self.store.submit(job, None)
        return job

    def claim(self, base: str, ticket: str = "t1") -> str | None:
        job = self.parent.claim(ticket, f"base.{base}")
        return job.id if job else None

    def neighbour(self, model: str, job_id: str | None = None) -> None:
        self.store.put_worker(WorkerState("other", model, "warm", (), job_id), 60)


@pytest.fixture
def plant(valkey_url: str, tmp_path: Path) -> Iterator[Plant]:
    settings = Settings(redis_url=f"{valkey_url.removesuffix('/0')}/6", fetch_timeout_s=60)
    client: Any = connect(settings.redis_url)
    client.flushdb()
    made = Plant(client, settings, tmp_path)
    yield made
    made.app.close()
    client.flushdb()
    client.close()


def test_nothing_waits(plant: Plant) -> None:
    assert plant.claim("demo") is None


def test_the_loaded_base_goes_first_and_the_other_base_s_ticket_is_replaced(plant: Plant) -> None:
    twin, demo = plant.submit("twin"), plant.submit("demo")
    # With a ticket of the other base's queue.
    assert plant.claim("twin") == demo.id
    assert plant.tickets.depth("base.twin") == 1
    assert plant.tickets.depth("base.demo") == 0
    # A lost reply: the same ticket gets the same job, and no second one is pushed.
    assert plant.claim("twin") == demo.id
    assert plant.tickets.depth("base.twin") == 1
    assert plant.claim("twin", "t2") == twin.id
    assert plant.tickets.depth("base.twin") == 1


def test_a_base_that_nobody_has_is_changed_to_at_once(plant: Plant) -> None:
    twin = plant.submit("twin")
    assert plant.claim("twin") == twin.id


@pytest.mark.parametrize("busy", [False, True])
def test_a_job_of_a_base_that_another_has_is_left_to_it(plant: Plant, busy: bool) -> None:
    plant.submit("twin")
    plant.neighbour("twin", "a job" if busy else None)
    with pytest.raises(BaseElsewhere):
        plant.claim("twin")
    plant.parent.page.say_base("demo", 1e-6)
    plant.parent.page.say_base("twin", 1e-6)
    plant.parent.page.say_base("demo", 1e-6)
    # The change now costs less than the job has waited.
    assert plant.claim("twin")


@pytest.mark.parametrize("model", ["demo", "twin"])
def test_adapters_that_are_on_the_way_hold_the_ticket(plant: Plant, model: str) -> None:
    job = plant.submit(model, "pixel")
    with pytest.raises(AdaptersOnTheWay):
        plant.claim(model)
    plant.here.update(shas_of(job.spec.group))
    assert an_adapter("pixel").sha256 in plant.here
    assert plant.claim(model) == job.id


def test_what_is_in_host_memory_goes_first(plant: Plant) -> None:
    on_disk, in_memory = plant.submit("demo", "pixel"), plant.submit("demo", "soft3d")
    plant.here.update(shas_of(on_disk.spec.group) + shas_of(in_memory.spec.group))
    plant.parent.page.say_resident(shas_of(in_memory.spec.group))
    assert plant.claim("demo") == in_memory.id
    assert plant.claim("demo", "t2") == on_disk.id


def test_a_base_is_not_changed_while_the_loaded_one_s_adapters_are_on_the_way(plant: Plant) -> None:
    plant.submit("demo", "pixel")
    twin = plant.submit("twin")
    with pytest.raises(AdaptersOnTheWay):
        plant.claim("demo")
    plant.parent.page.say_base("twin", 1e-6)
    plant.parent.page.say_base("demo", 1e-6)
    # Unless the job has waited as long as the change takes.
    assert plant.claim("demo") == twin.id


def test_what_is_here_is_found_behind_all_that_is_not(plant: Plant) -> None:
    for number in range(SNAPSHOT_LIMIT + 1):
        plant.submit("demo", f"cold-{number}")
    plant.parent.page.say_loaded([AppliedLora(id="x", revision="r", sha256="f" * 64, scale=1)])
    ready = plant.submit("demo")
    assert plant.claim("demo") == ready.id


def test_a_job_whose_adapters_never_come_is_passed_for_so_long_only(plant: Plant) -> None:
    cold = plant.submit("demo", "cold")
    plant.submit("demo")
    assert plant.claim("demo") != cold.id
    patient = plant.parent
    in_order = [entry.model_copy(update={"reorder_window_s": 0}) for entry in patient.entries]
    hurried = patient.settings.model_copy(update=NO_PATIENCE)
    plant.parent = replace(patient, settings=hurried, entries=in_order)
    plant.submit("demo")
    assert plant.claim("demo", "t2") == cold.id


def test_a_ticket_that_came_too_late_each_time_is_kept(plant: Plant) -> None:
    for _ in range(5):
        plant.submit("demo")
    seen, rivals = plant.store.snapshot, iter(range(9))

    def seen_late(
        model: str, worker: str = "", loaded: str = "", limit: int = SNAPSHOT_LIMIT
    ) -> Snapshot:
        snapshot = seen(model, worker, loaded, limit)
        if model == "demo":
            rival = f"other-{next(rivals)}"
            plant.store.claim("demo", snapshot.turns[0].groups[0].oldest.id, rival, "t9")
        return snapshot

    plant.store.snapshot = seen_late  # type: ignore[method-assign]
    with pytest.raises(Held):
        plant.claim("demo")
    assert plant.store.backlog()["demo"] == 2


def test_a_record_of_another_version_goes_back_without_an_attempt(plant: Plant) -> None:
    job = plant.submit("demo")
    key = f"lorajobs:job:{job.id}"
    spec = plant.client.hget(key, "spec")
    plant.client.hset(key, "spec", spec[:-1] + ',"new_field":1}')
    with pytest.raises(RecordUnreadable, match=job.id):
        plant.claim("demo")
    plant.client.hset(key, "spec", spec)
    back = plant.store.get(job.id)
    assert (back.status, back.attempt) == (JobStatus.QUEUED, 1)
    assert plant.client.hget(key, "refunded") == "1"


def test_a_job_past_its_deadline_is_not_started(plant: Plant) -> None:
    job = plant.submit("demo", start_deadline_s=1)
    plant.client.zadd("lorajobs:deadlines", {job.id: 1})
    assert plant.claim("demo") is None
    assert plant.store.get(job.id).status is JobStatus.EXPIRED


def test_a_draining_worker_takes_nothing(plant: Plant) -> None:
    assert not plant.parent.is_draining()
    plant.parent.page.ask_stop(5)
    assert plant.parent.is_draining()


def test_a_claim_that_another_worker_was_faster_with_chooses_anew(plant: Plant) -> None:
    first, second = plant.submit("demo"), plant.submit("demo")
    seen = plant.store.snapshot
    rivals = iter(["other"])

    def seen_late(
        model: str, worker: str = "", loaded: str = "", limit: int = SNAPSHOT_LIMIT
    ) -> Snapshot:
        snapshot = seen(model, worker, loaded, limit)
        if model == "demo" and (rival := next(rivals, None)):
            plant.store.claim("demo", first.id, rival, "t9")
        return snapshot

    plant.store.snapshot = seen_late  # type: ignore[method-assign]
    assert plant.claim("demo") == second.id
