from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lorajobs
from lorajobs.client import LONG_POLL_S, Client
from lorajobs.client_errors import ApiUnreachable, ClientError
from lorajobs.embedded.ports import free_port
from tests.services.scripted_api import Answer, ScriptedApi, scripted_api
from tests.unit.documents import PICTURE, event_stream, job_document, output_document


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as server:
        yield server


@pytest.fixture
def client(api: ScriptedApi) -> Iterator[Client]:
    with Client(api.url + "/") as client:
        yield client


def test_submit_sends_the_request_as_it_is(api: ScriptedApi, client: Client) -> None:
    api.on("POST", "/v1/jobs", Answer(job_document("queued"), 202))
    request = {"model": "demo", "prompt": "a red heart", "loras": [{"id": "pixel"}]}
    assert client.submit(request)["status"] == "queued"
    assert api.asked == [("POST", "/v1/jobs", request)]


def test_a_problem_document_names_each_field(api: ScriptedApi, client: Client) -> None:
    problem = {
        "title": "Adapter not found",
        "detail": "no adapter is registered as `pixl`",
        "errors": [{"pointer": "/loras/0/id", "detail": "known are pixel, soft3d"}],
    }
    api.on("POST", "/v1/jobs", Answer(problem, 422, "application/problem+json"))
    with pytest.raises(ClientError) as caught:
        client.submit({})
    assert caught.value.status == 422
    assert str(caught.value) == (
        "Adapter not found: no adapter is registered as `pixl`\n"
        "  /loras/0/id: known are pixel, soft3d"
    )


@pytest.mark.parametrize("body", [b"<html>bad gateway", b"[1]", b'{"errors": 3}', b'{"title": 1'])
def test_an_error_that_is_no_problem_document_shows_its_status(
    api: ScriptedApi, client: Client, body: bytes
) -> None:
    api.on("GET", "/v1/jobs/x", Answer(body, 502, "text/html"))
    with pytest.raises(ClientError, match="answered 502: text/html, no problem document"):
        client.get("x")


def test_another_server_at_the_url_is_recognised(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/x", Answer(b"<html>", 200, "text/html"))
    with pytest.raises(ClientError, match="is not the lorajobs API"):
        client.get("x")


@pytest.mark.parametrize("url", ["", "foo", "/v1", "ftp://host", "http://", "http://host:port"])
def test_a_url_that_cannot_be_an_api(url: str) -> None:
    with pytest.raises(ClientError, match=r"is not an? (http\(s\) )?URL"):
        Client(url)


def test_nothing_at_the_url_is_said_so() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(ApiUnreachable, match="does not answer at"),
    ):
        client.get("x")


def test_ready_is_what_readyz_says(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/readyz", Answer({}, 503), Answer({}, 200))
    assert not client.ready()
    assert client.ready()


def test_a_submit_can_wait_and_a_dry_run_creates_nothing(api: ScriptedApi, client: Client) -> None:
    ended = job_document()
    api.on("POST", "/v1/jobs?wait=60", Answer(ended))
    api.on("POST", "/v1/jobs?dry_run=1", Answer({"dry_run": True}))
    assert client.submit({}, wait_s=60) == ended
    assert client.dry_run({}) == {"dry_run": True}


def test_wait_is_answered_at_the_end(api: ScriptedApi, client: Client) -> None:
    queued, ended = job_document("queued"), job_document()
    path = f"/v1/jobs/{ended['id']}?wait={LONG_POLL_S:g}"
    api.on("GET", path, Answer(queued), Answer(ended))
    assert client.wait(ended["id"]) == ended


def test_wait_bears_with_an_api_that_restarts(api: ScriptedApi, client: Client) -> None:
    ended = job_document("failed")
    api.on("GET", f"/v1/jobs/x?wait={LONG_POLL_S:g}", Answer({"title": "x"}, 503), Answer(ended))
    assert client.wait("x") == ended


def test_wait_ends_at_its_time(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/x", Answer(job_document("running")))
    with pytest.raises(TimeoutError, match="job x is running after 0 s"):
        client.wait("x", timeout_s=0)


EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("queued", {"at": "2026-11-22T07:00:00.000Z"}),
    ("running", {"attempt": 1}),
    ("progress", {"stage": "denoising", "step": 1, "steps": 20}),
    ("succeeded", job_document()),
]


def stream_answer(body: bytes) -> Answer:
    return Answer(body, content_type="text/event-stream; charset=utf-8")


def test_a_stream_tells_each_event_and_ends_with_the_job(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/x/events", stream_answer(event_stream(*EVENTS)))
    told = list(client.stream("x"))
    assert [(event.kind, event.data) for event in told] == EVENTS
    assert [event.id for event in told] == ["1700-0", "1700-1", "1700-2", "1700-3"]


def test_a_stream_that_is_cut_goes_on_where_it_was(api: ScriptedApi, client: Client) -> None:
    api.on(
        "GET",
        "/v1/jobs/x/events",
        stream_answer(event_stream(*EVENTS[:2])),
        Answer({"title": "down"}, 503, "application/problem+json"),
        stream_answer(event_stream(*EVENTS[2:], first=2)),
    )
    assert [(event.kind, event.data) for event in client.stream("x")] == EVENTS
    assert [headers.get("last-event-id") for headers in api.headers] == [None, "1700-1", "1700-1"]


def test_a_stream_begins_after_a_given_event(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/x/events", stream_answer(event_stream(*EVENTS[3:], first=3)))
    (last,) = client.stream("x", after="1700-2")
    assert last.data["status"] == "succeeded"
    assert api.headers[0]["last-event-id"] == "1700-2"


def test_nothing_is_left_to_tell(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/x/events", Answer(b"", 204))
    assert list(client.stream("x", after="1700-3")) == []


@pytest.mark.parametrize(
    "answer", [Answer({"title": "a page"}), stream_answer(b"id: 1-0\nevent: queued\ndata: <\n\n")]
)
def test_a_stream_of_another_server_is_recognised(
    api: ScriptedApi, client: Client, answer: Answer
) -> None:
    api.on("GET", "/v1/jobs/x/events", answer)
    with pytest.raises(ClientError, match="is not the lorajobs API"):
        list(client.stream("x"))


def test_a_stream_does_not_repeat_a_refusal(api: ScriptedApi, client: Client) -> None:
    with pytest.raises(ClientError, match="Not found"):
        list(client.stream("x"))
    assert len(api.asked) == 1


def test_the_client_is_the_package_s() -> None:
    assert (lorajobs.Client, lorajobs.ClientError) == (Client, ClientError)


def test_wait_does_not_repeat_a_refusal(api: ScriptedApi, client: Client) -> None:
    with pytest.raises(ClientError, match="Not found"):
        client.wait("x")
    assert len(api.asked) == 1


def test_download_follows_and_checks(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/moved", Answer(b"", 302, location=f"{api.url}/file"))
    api.on("GET", "/file", Answer(PICTURE, content_type="image/png"))
    assert client.download(output_document(f"{api.url}/moved")) == PICTURE
    with pytest.raises(ClientError, match="is not the picture that was made"):
        client.download(output_document(f"{api.url}/file", data=b"another"))
    with pytest.raises(ClientError, match="Not found"):
        client.download(output_document(f"{api.url}/gone"))
    with pytest.raises(ClientError, match="The picture was withheld"):
        client.download(output_document("") | {"url": None, "sha256": None})


def test_lists_come_back_as_lists(api: ScriptedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs?limit=5", Answer({"jobs": [job_document()], "next_cursor": None}))
    api.on("GET", "/v1/models", Answer({"models": [{"id": "demo"}]}))
    assert [job["status"] for job in client.jobs(5)] == ["succeeded"]
    assert client.models() == [{"id": "demo"}]
    api.on("GET", "/v1/loras", Answer({"loras": [{"id": "pixel"}]}))
    api.on("GET", "/v1/usage?by=model", Answer({"by": "model", "usage": [{"model": "demo"}]}))
    assert client.loras() == [{"id": "pixel"}]
    assert client.usage("model") == [{"model": "demo"}]


def test_a_submit_can_be_named(api: ScriptedApi, client: Client) -> None:
    api.on("POST", "/v1/jobs", Answer(job_document("queued"), 202))
    client.submit({"model": "demo"}, idempotency_key="order-7")
    client.submit({"model": "demo"})
    assert [headers.get("idempotency-key") for headers in api.headers] == ["order-7", None]


def test_an_uploaded_picture_is_sent_as_what_its_name_says(
    api: ScriptedApi, client: Client, tmp_path: Path
) -> None:
    api.on("POST", "/v1/images", Answer({"id": "image-1"}, 201))
    file = tmp_path / "a.webp"
    file.write_bytes(PICTURE)
    assert client.upload_image(file) == {"id": "image-1"}
    assert api.asked == [("POST", "/v1/images", PICTURE)]
    assert api.headers[0]["content-type"] == "image/webp"
