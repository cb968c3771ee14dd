"""`/metrics` of the API."""

import pytest
from werkzeug.test import TestResponse

from lorajobs.errors import OutOfMemory, StoreUnavailable
from lorajobs.store import WorkerState
from lorajobs.tally import Tally
from lorajobs.testing import MemoryJobStore, MemoryTally
from tests.scrape import Scrape, documented
from tests.shelf import Shelf
from tests.unit.web.api import Api

HOOK = {"url": "https://receiver.example/"}


class DownTally(MemoryTally):
    """A tally of a store that does not answer."""

    def tally(self) -> Tally:
        raise StoreUnavailable("Redis does not answer")


def scraped(api: Api) -> Scrape:
    return Scrape(answered(api).text)


def answered(api: Api, **headers: str) -> TestResponse:
    answer = api.client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def live(api: Api, name: str, state: str) -> None:
    api.store.put_worker(WorkerState(name, "demo", state, [], None), ttl_s=10)


def test_the_document_lists_just_what_there_is(api: Api) -> None:
    assert scraped(api).rows() == documented("API")


def test_jobs_are_shown_by_where_they_are(api: Api) -> None:
    first, _, third = (api.submit(webhook=HOOK) for _ in range(3))
    api.clock.advance(12)
    api.run(first)
    api.store.cancel(third)
    api.broker.depths["base.demo"] = 2
    seen = scraped(api)
    assert seen.value("lorajobs_jobs_waiting", base="demo") == 1
    assert seen.value("lorajobs_jobs_running", base="demo") == 1
    assert seen.value("lorajobs_oldest_waiting_seconds", base="demo") == 12
    assert seen.value("lorajobs_tickets", base="demo") == 2
    webhooks = [seen.value(f"lorajobs_webhooks_{s}") for s in ("unsettled", "due", "overdue")]
    assert webhooks == [1, 1, 0]
    api.clock.advance(31)
    assert scraped(api).value("lorajobs_webhooks_overdue") == 1


def test_what_there_was_is_shown_by_how_it_ended(api: Api) -> None:
    done, failed, canceled = (api.submit() for _ in range(3))
    api.run(done)
    api.finish(done)
    assert api.store.refuse(failed, OutOfMemory("full").as_job_error())
    api.store.cancel(canceled)
    seen = scraped(api)
    ended = "lorajobs_jobs_ended_total"
    assert seen.value(ended, base="demo", status="succeeded", code="") == 1
    assert seen.value(ended, base="demo", status="failed", code="oom") == 1
    assert seen.value(ended, base="demo", status="canceled") == 1


@pytest.mark.parametrize(
    ("states", "unserved"),
    [((), 1), (("draining",), 1), (("loading",), 0), (("warm",), 0), (("draining", "warm"), 0)],
)
def test_jobs_that_nobody_takes_are_unserved(
    api: Api, states: tuple[str, ...], unserved: int
) -> None:
    api.submit()
    for number, state in enumerate(states):
        live(api, f"w{number}", state)
    seen = scraped(api)
    assert seen.value("lorajobs_jobs_unserved", base="demo") == unserved
    for state in ("loading", "warm", "draining"):
        count = seen.value("lorajobs_workers", base="demo", state=state)
        assert count == states.count(state)


def test_every_base_is_shown_before_its_first_job(api: Api) -> None:
    assert scraped(api).value("lorajobs_jobs_waiting", base="demo") == 0


def test_listeners_of_all_processes_are_added_up(api: Api) -> None:
    leave = api.seats.take()
    api.listeners.tell("another-7", 5)
    seen = scraped(api)
    assert seen.value("lorajobs_listeners") == 6
    assert seen.value("lorajobs_listeners_of_fullest") == 5
    leave()
    assert scraped(api).value("lorajobs_listeners") == 5


def test_no_label_holds_an_id(api: Api) -> None:
    job_id = api.submit(loras=[{"id": "pixel"}])
    live(api, "demo-7@host", "warm")
    text = answered(api).text
    assert job_id not in text
    assert "pixel" not in text
    assert "demo-7" not in text


def test_a_store_that_is_down_is_a_value(shelf: Shelf) -> None:
    api = Api(shelf, tally=DownTally(MemoryJobStore()))
    seen = scraped(api)
    assert seen.value("lorajobs_up", part="store") == 0
    assert {row.name for row in seen.rows()} == {"lorajobs_up"}


def test_a_broker_that_is_down_is_a_value(api: Api) -> None:
    api.broker.down = True
    seen = scraped(api)
    assert seen.value("lorajobs_up", part="store") == 1
    assert seen.value("lorajobs_up", part="broker") == 0
    missing = documented("API") - seen.rows()
    assert {row.name for row in missing} == {"lorajobs_tickets"}


def test_the_format_is_the_one_that_is_asked_for(api: Api) -> None:
    assert answered(api).content_type.startswith("text/plain; version=0.0.4")
    asked = answered(api, Accept="application/openmetrics-text; version=1.0.0")
    assert asked.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert asked.text.endswith("# EOF\n")
