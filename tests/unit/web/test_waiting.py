"""`?wait=n` and `Prefer: wait=n`: requests that are answered once their job has ended."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pytest
from werkzeug.test import TestResponse

from lorajobs.errors import StoreUnavailable
from lorajobs.events import Event, EventLog
from lorajobs.jobs import JobStatus
from tests.shelf import Shelf
from tests.unit.web.api import REQUEST, Api, problem_of

LONG_S = 20


class Watched:
    """A log of events that tells who waits."""

    def __init__(self) -> None:
        self.log: EventLog
        #: the jobs that were asked for
        self.asked: Queue[str] = Queue()

    def events(self, job_id: str, after: str, block_s: float) -> Sequence[Event]:
        self.asked.put(job_id)
        return self.log.events(job_id, after, block_s)


class WatchedApi(Api):
    """An API that tells when a request waits."""

    def __init__(self, shelf: Shelf) -> None:
        self.watched = Watched()
        super().__init__(shelf, events=self.watched)
        self.watched.log = self.store

    def ended_meanwhile(self, ask: Callable[[], TestResponse]) -> TestResponse:
        """The answer of a request that waits, whose job ends then."""
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask)
            self.finish(self.watched.asked.get(timeout=LONG_S))
            return asked.result(LONG_S)


@pytest.fixture
def watched(shelf: Shelf) -> WatchedApi:
    return WatchedApi(shelf)


@pytest.mark.parametrize(
    ("query", "preference"), [(f"?wait={LONG_S}", ""), ("", f"wait={LONG_S}"), ("", 'Wait = "20"')]
)
def test_a_look_waits_for_the_end(watched: WatchedApi, query: str, preference: str) -> None:
    path = f"/v1/jobs/{watched.submit()}{query}"
    headers = {"Prefer": preference} if preference else {}
    answer = watched.ended_meanwhile(lambda: watched.client.get(path, headers=headers))
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    applied = answer.headers.get("Preference-Applied")
    assert applied == (f"wait={LONG_S}" if preference else None)
    assert watched.seats.taken == 0


def test_a_submit_waits_for_the_end(watched: WatchedApi) -> None:
    headers = {"Prefer": f"respond-async, wait={LONG_S};x=y"}
    answer = watched.ended_meanwhile(
        lambda: watched.client.post("/v1/jobs", json=REQUEST, headers=headers)
    )
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")
    assert answer.headers["Preference-Applied"] == f"wait={LONG_S}"
    assert answer.headers["Location"].endswith(answer.get_json()["id"])
    assert "Retry-After" not in answer.headers


def test_a_wait_that_runs_out_answers_what_is(api: Api) -> None:
    answer = api.client.post("/v1/jobs?wait=0.01", json=REQUEST)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "queued")
    assert answer.get_json()["queue"]["position"] == 0
    job_id = answer.get_json()["id"]
    api.run(job_id)
    looked = api.client.get(f"/v1/jobs/{job_id}?wait=0.01")
    assert (looked.status_code, looked.get_json()["status"]) == (200, "running")
    assert "Retry-After" in looked.headers


def test_an_ended_job_is_not_waited_for(api: Api) -> None:
    job_id = api.submit()
    api.finish(job_id)
    assert api.client.get(f"/v1/jobs/{job_id}?wait=60").get_json()["status"] == "succeeded"


@pytest.mark.parametrize("value", ["61", "-1", "x", "nan", "", "1&wait=2"])
def test_a_wait_that_is_not_granted(api: Api, value: str) -> None:
    job_id = api.submit()
    for answer in (
        api.client.get(f"/v1/jobs/{job_id}?wait={value}"),
        api.client.post(f"/v1/jobs?wait={value}", json=REQUEST),
    ):
        document = problem_of(answer, 422, "validation")
        assert document["errors"][0]["pointer"] == "/wait"
        assert "0 to 60" in document["errors"][0]["detail"]
    assert len(api.client.get("/v1/jobs").get_json()["jobs"]) == 1


@pytest.mark.parametrize("preference", ["wait", "wait=x", "wait=-1", "respond-async", "", "wait=0"])
def test_a_preference_that_says_nothing_is_no_error(api: Api, preference: str) -> None:
    job_id = api.submit()
    answer = api.client.get(f"/v1/jobs/{job_id}", headers={"Prefer": preference})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


def test_of_several_wishes_the_first_counts_and_a_long_one_is_cut(watched: WatchedApi) -> None:
    path = f"/v1/jobs/{watched.submit()}"
    headers = [("Prefer", "wait=900"), ("Prefer", "wait=1")]
    answer = watched.ended_meanwhile(lambda: watched.client.get(path, headers=headers))
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert answer.get_json()["status"] == "succeeded"


def test_a_wish_is_not_granted_while_too_many_wait(shelf: Shelf) -> None:
    shelf.settings = shelf.settings.model_copy(update={"api_listeners": 1})
    api = Api(shelf)
    leave = api.seats.take()
    answer = api.client.post("/v1/jobs", json=REQUEST, headers={"Prefer": "wait=60"})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers
    leave()


class Deaf:
    """A log of events whose server does not answer."""

    def events(self, job_id: str, after: str, block_s: float) -> Sequence[Event]:
        raise StoreUnavailable("Redis does not answer")


def test_a_job_that_was_accepted_is_no_error_whatever_becomes_of_the_wait(shelf: Shelf) -> None:
    api = Api(shelf, events=Deaf())
    answer = api.client.post("/v1/jobs?wait=5", json=REQUEST)
    assert answer.status_code == 202
    assert api.store.get(answer.get_json()["id"]).status is JobStatus.QUEUED
    assert api.seats.taken == 0
