"""Requests that are answered with pictures: what becomes of them when something is in the way."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from werkzeug.test import TestResponse

from lorajobs.errors import (
    AttemptError,
    EngineFailed,
    LoraFetchFailed,
    LoraJobsError,
    OutOfMemory,
    RequestError,
    StoreUnavailable,
)
from lorajobs.events import Event
from lorajobs.jobs import JobError
from lorajobs.lora_errors import LoraUnknownKeys
from lorajobs.moderation_errors import NsfwBlocked
from lorajobs.storage.folder import FolderStore
from tests.shelf import Shelf
from tests.unit.web.painted import PaintedApi
from web.errors import status_of
from web.pictures import error_of


@pytest.fixture
def api(shelf: Shelf) -> PaintedApi:
    return PaintedApi(shelf)


def ask(api: PaintedApi) -> TestResponse:
    return api.client.post("/", json={"inputs": "an elephant"})


def meanwhile(api: PaintedApi, happens: Callable[[str], object]) -> None:
    """Lets something happen each time that a request waits for its job."""
    paint = api.painter.events

    def events(job_id: str, after: str, block_s: float) -> Sequence[Event]:
        happens(job_id)
        return paint(job_id, after, block_s)

    api.painter.events = events  # type: ignore[method-assign]


def test_a_store_that_is_gone_does_not_take_the_job_along(api: PaintedApi) -> None:
    def down(job_id: str) -> None:
        raise StoreUnavailable("Redis does not answer")

    meanwhile(api, down)
    answer = ask(api)
    assert (answer.status_code, answer.get_json()["error_type"]) == (504, "not_ended_in_time")
    assert "goes on (Redis does not answer)" in answer.get_json()["error"]
    assert answer.headers["X-Job-Id"] == api.jobs[0].id
    assert "Retry-After" not in answer.headers


def test_a_process_that_ends_lets_everyone_go(api: PaintedApi) -> None:
    api.painter.works = False
    meanwhile(api, lambda job_id: api.seats.close())
    answer = ask(api)
    assert answer.status_code == 504
    assert "goes on (this process of the API ends)" in answer.get_json()["error"]
    assert ask(api).status_code == 503
    assert len(api.jobs) == 1


def test_a_picture_that_was_erased_is_not_found(api: PaintedApi) -> None:
    class Erased(FolderStore):
        def read(self, key: str, max_bytes: int) -> bytes:
            self.delete(key)
            return super().read(key, max_bytes)

    shelf = api.shelf
    shelf.objects = Erased(shelf.folder, "https://api.example", 60)
    answer = ask(PaintedApi(shelf))
    assert (answer.status_code, answer.get_json()["error_type"]) == (404, "output_not_found")


def test_a_storage_that_does_not_answer_can_be_asked_again(shelf: Shelf) -> None:
    class Silent(FolderStore):
        def read(self, key: str, max_bytes: int) -> bytes:
            raise OSError(5, "no answer", key)

    shelf.objects = Silent(shelf.folder, "https://api.example", 60)
    answer = ask(PaintedApi(shelf))
    assert (answer.status_code, answer.get_json()["error_type"]) == (503, "storage_unavailable")
    assert answer.headers["Retry-After"]
    assert answer.headers["X-Should-Retry"] == "false"


def kinds(base: type[LoraJobsError]) -> Iterator[type[LoraJobsError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (EngineFailed, 500),
        (OutOfMemory, 503),
        (LoraFetchFailed, 503),
        (LoraUnknownKeys, 422),
        (NsfwBlocked, 422),
    ],
)
def test_what_a_job_failed_with_is_raised_again(kind: type[LoraJobsError], status: int) -> None:
    error = error_of(kind("the reason").as_job_error())
    assert (type(error), error.detail) == (kind, "the reason")
    assert status_of(error) == status


def test_no_two_ends_of_jobs_have_one_code() -> None:
    ends = [*kinds(AttemptError), *kinds(RequestError)]
    own = [kind.code for kind in ends if "code" in vars(kind)]
    assert len(own) == len(set(own))


def test_an_error_of_another_version_is_still_one() -> None:
    told = JobError(code="of_tomorrow", title="t", detail="d", retryable=False)
    assert isinstance(error_of(told), EngineFailed)
