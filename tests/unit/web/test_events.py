"""`/v1/jobs/{id}/events`: what happens to a job, as Server-Sent Events."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from lorajobs.jobs import JobStatus, Outcome, Stage
from lorajobs.store import Progress
from tests.jobs import lease_of
from tests.shelf import PUBLIC_URL, Shelf
from tests.unit.web.api import Api, problem_of

BEAT = ": still here\n\n"


class Told(NamedTuple):
    """One event as a client reads it."""

    id: str
    kind: str
    data: dict[str, Any]


def parsed(frame: str) -> Told:
    fields = dict(line.split(": ", 1) for line in frame.strip().split("\n"))
    return Told(fields["id"], fields["event"], json.loads(fields["data"]))


def listen(api: Api, job_id: str, heard: str = "") -> TestResponse:
    headers = {"Last-Event-ID": heard} if heard else {}
    answer = api.client.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "text/event-stream"
    return answer


def frames(answer: Response) -> Iterator[str]:
    """The parts of the answer as they are sent, after the first."""
    sent = (part.decode() if isinstance(part, bytes) else part for part in answer.response)
    assert next(sent) == "retry: 1000\n\n"
    return sent


def heard(api: Api, job_id: str, after: str = "") -> Sequence[Told]:
    """All events of a job that has ended."""
    with listen(api, job_id, after) as answer:
        return [parsed(frame) for frame in frames(answer)]


def with_settings(shelf: Shelf, **changes: Any) -> Api:
    shelf.settings = shelf.settings.model_copy(update=changes)
    return Api(shelf)


def test_each_event_is_sent_as_it_happens_and_the_last_one_holds_the_job(api: Api) -> None:
    job_id = api.submit()
    answer = listen(api, job_id)
    sent = frames(answer)
    assert parsed(next(sent))[1:] == ("queued", {"at": "2023-11-14T22:13:20.000Z"})
    api.clock.advance(1)
    lease = lease_of(api.store.claim("demo", job_id, "w", "ticket"))
    assert lease
    assert parsed(next(sent))[1:] == ("running", {"attempt": 1, "at": "2023-11-14T22:13:21.000Z"})
    api.store.renew(lease, Progress(Stage.DENOISING, 3, 20))
    told = parsed(next(sent))
    assert told.kind == "progress"
    assert told.data.items() >= {"stage": "denoising", "step": 3, "steps": 20}.items()
    api.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED))
    last = parsed(next(sent))
    assert last.kind == "succeeded"
    assert last.data == api.client.get(f"/v1/jobs/{job_id}").get_json()
    assert last.data["urls"]["events"] == f"{PUBLIC_URL}/v1/jobs/{job_id}/events"
    assert next(sent, None) is None


def test_headers_that_let_events_through(api: Api) -> None:
    answer = listen(api, api.submit())
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-store"
    answer.close()


def test_who_comes_again_hears_the_rest_and_nothing_twice(api: Api) -> None:
    job_id = api.submit()
    api.finish(job_id)
    told = heard(api, job_id)
    assert [event.kind for event in told] == ["queued", "running", "succeeded"]
    for count, event in enumerate(told[:-1], 1):
        assert heard(api, job_id, event.id) == told[count:]


def test_who_has_heard_all_is_told_not_to_come_again(api: Api) -> None:
    job_id = api.submit()
    api.finish(job_id)
    last = heard(api, job_id)[-1]
    path = f"/v1/jobs/{job_id}/events"
    answer = api.client.get(path, headers={"Last-Event-ID": last.id})
    assert (answer.status_code, answer.data) == (204, b"")


def test_a_job_that_ended_long_ago_tells_its_end_at_once(api: Api) -> None:
    job_id = api.submit()
    api.clock.advance(1)
    api.finish(job_id)
    first = heard(api, job_id)[0]
    api.store.forget_events(job_id)
    for after in ("", first.id):
        (told,) = heard(api, job_id, after)
        assert (told.kind, told.data["id"]) == ("succeeded", job_id)


def test_an_unknown_job_is_404(api: Api) -> None:
    problem_of(api.client.get("/v1/jobs/nobody/events"), 404, "job_not_found")


@pytest.mark.parametrize("value", ["x", "1", "-1-0", "1-0-0", "1-" + "9" * 30, "$", "1-0\n"])
def test_an_id_that_no_event_has(api: Api, value: str) -> None:
    path = f"/v1/jobs/{api.submit()}/events"
    if "\n" in value:
        value = value.replace("\n", " x")
    answer = api.client.get(path, headers={"Last-Event-ID": value})
    document = problem_of(answer, 422, "validation")
    assert [error["pointer"] for error in document["errors"]] == ["Last-Event-ID"]


def test_a_query_is_refused(api: Api) -> None:
    problem_of(api.client.get(f"/v1/jobs/{api.submit()}/events?after=1"), 422, "validation")


def test_a_silent_job_shows_that_the_api_is_there(shelf: Shelf) -> None:
    api = with_settings(shelf, heartbeat_s=0.01)
    answer = listen(api, api.submit())
    sent = frames(answer)
    assert parsed(next(sent)).kind == "queued"
    assert [next(sent), next(sent)] == [BEAT, BEAT]
    answer.close()


def test_a_job_that_is_erased_ends_its_events(shelf: Shelf) -> None:
    api = with_settings(shelf, heartbeat_s=0.01)
    job_id = api.submit()
    sent = frames(listen(api, job_id))
    assert parsed(next(sent)).kind == "queued"
    api.store.cancel(job_id)
    api.store.delete(job_id)
    assert set(sent) <= {BEAT}


def test_so_many_listen_and_no_more(shelf: Shelf) -> None:
    api = with_settings(shelf, api_listeners=2)
    job_id = api.submit()
    first, second = listen(api, job_id), listen(api, job_id)
    path = f"/v1/jobs/{job_id}/events"
    document = problem_of(api.client.get(path), 503, "too_many_listeners")
    assert "2 follow jobs" in document["detail"]
    assert api.client.get(f"/v1/jobs/{job_id}").status_code == 200
    first.close()
    first.close()
    third = listen(api, job_id)
    problem_of(api.client.get(path), 503, "too_many_listeners")
    for answer in (second, third):
        answer.close()
    assert api.seats.taken == 0


def test_what_is_not_listened_to_takes_no_place(api: Api) -> None:
    job_id = api.submit()
    with api.client.head(f"/v1/jobs/{job_id}/events") as answer:
        assert (answer.status_code, answer.data) == (200, b"")
    api.finish(job_id)
    assert len(heard(api, job_id)) == 3
    assert api.seats.taken == 0


def test_listeners_leave_when_the_process_ends(api: Api) -> None:
    job_id = api.submit()
    sent = frames(listen(api, job_id))
    assert parsed(next(sent)).kind == "queued"
    api.seats.close()
    assert next(sent, None) is None
    problem_of(api.client.get(f"/v1/jobs/{job_id}/events"), 503, "too_many_listeners")
