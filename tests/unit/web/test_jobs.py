"""`/v1/jobs` over HTTP."""

import io
import json
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from lorajobs.errors import StoreUnavailable
from lorajobs.jobs import Job, JobStatus
from lorajobs.store import QueueRules
from lorajobs.testing import MemoryJobStore
from tests.shelf import PUBLIC_URL, Shelf
from tests.unit.web.api import REQUEST, Api, problem_of


def test_a_submitted_job_is_shown_with_where_it_will_be_found(api: Api) -> None:
    answer = api.client.post("/v1/jobs", json=REQUEST | {"seed": 7, "loras": [{"id": "pixel"}]})
    document = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{PUBLIC_URL}/v1/jobs/{document['id']}"
    assert document["urls"]["self"] == answer.headers["Location"]
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "no-store"
    assert document["status"] == "queued"
    assert document["queue"] == {
        "position": 0,
        "ahead_max": 0,
        "eta_s": None,
        "reason": "no_worker",
    }
    assert document["input"]["seed"] == 7
    assert document["input"]["loras"] == [{"id": "pixel", "scale": 0.8}]
    assert document["applied_loras"] == []
    assert api.client.get(urlsplit(answer.headers["Location"]).path).get_json() == document


def test_a_submitted_job_is_in_the_queue_of_its_base(api: Api) -> None:
    job_id = api.submit(model="pixel", webhook={"url": "https://receiver.example/"})
    job = api.store.get(job_id)
    assert job.spec.model == "demo"
    assert job.spec.webhook is not None
    assert [ticket["queue"] for ticket in api.store.tickets] == ["base.demo"]


def test_warnings_come_with_the_job(api: Api) -> None:
    job_id = api.submit(loras=[{"id": "line", "scale": 3}])
    (warning,) = api.client.get(f"/v1/jobs/{job_id}").get_json()["warnings"]
    assert warning["code"] == "lora_scale"


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"width": "64"}, "validation", "/width"),
        ({"width": 65}, "validation", "/width"),
        ({"promt": "x"}, "validation", "/promt"),
        ({"model": "nix"}, "unknown_model", "/model"),
        ({"scheduler": "Nix"}, "validation", "/scheduler"),
        ({"loras": [{"id": "nix"}]}, "lora_not_found", "/loras/0/id"),
        ({"loras": [{"id": "line"}, {"id": "far"}]}, "lora_base_mismatch", "/loras/1"),
        ({"loras": [{"path": "/etc/passwd"}]}, "path_not_allowed", "/loras/0/path"),
        ({"loras": [{"path": "s3://bucket/key"}]}, "url_not_allowed", "/loras/0/path"),
        ({"loras": [{"path": "gopher://host"}]}, "url_not_allowed", "/loras/0/path"),
        ({"webhook": {"url": "https://private.example"}}, "url_not_allowed", "/webhook/url"),
    ],
)
def test_a_wrong_request_is_422_and_queues_nothing(
    api: Api, fields: dict[str, Any], code: str, pointer: str
) -> None:
    answer = api.client.post("/v1/jobs", json=REQUEST | fields)
    document = problem_of(answer, 422, code)
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert all(error["detail"] for error in document["errors"])
    assert not document["retryable"]
    assert api.client.get("/v1/jobs").get_json()["jobs"] == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null"])
def test_a_body_that_is_no_json_object_is_400(api: Api, raw: bytes) -> None:
    answer = api.client.post("/v1/jobs", data=raw, content_type="application/json")
    problem_of(answer, 400, "malformed_body")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_type_is_415(api: Api, kind: str | None) -> None:
    answer = api.client.post("/v1/jobs", data=json.dumps(REQUEST), content_type=kind)
    document = problem_of(answer, 415, "unsupported_media_type")
    assert "application/json" in document["detail"]


def test_the_charset_of_json_may_be_named(api: Api) -> None:
    kind = "application/json; charset=utf-8"
    answer = api.client.post("/v1/jobs", data=json.dumps(REQUEST), content_type=kind)
    assert answer.status_code == 202


def test_a_large_body_is_413_and_names_the_setting(api: Api) -> None:
    most = api.shelf.settings.max_body_bytes
    raw = json.dumps(REQUEST).encode()
    fits = api.client.post(
        "/v1/jobs", data=raw + b" " * (most - len(raw)), content_type="application/json"
    )
    assert fits.status_code == 202
    answer = api.client.post("/v1/jobs", data=b" " * (most + 1), content_type="application/json")
    document = problem_of(answer, 413, "body_too_large")
    assert "65,536 bytes (LORAJOBS_MAX_BODY_BYTES)" in document["detail"]


@pytest.mark.parametrize(("more", "status"), [(0, 202), (1, 413), (100_000, 413)])
def test_a_chunked_body_is_measured_too(api: Api, more: int, status: int) -> None:
    raw = json.dumps(REQUEST).encode()
    padding = b" " * (api.shelf.settings.max_body_bytes - len(raw) + more)
    answer = api.client.post(
        "/v1/jobs",
        input_stream=io.BytesIO(raw + padding),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == status


def test_an_unknown_job_is_404_everywhere(api: Api) -> None:
    for method, path in (
        ("GET", "/v1/jobs/nix"),
        ("DELETE", "/v1/jobs/nix"),
        ("POST", "/v1/jobs/nix/cancel"),
        ("GET", "/v1/jobs/nix/outputs/0"),
    ):
        problem_of(api.client.open(path, method=method), 404, "job_not_found")


def test_the_position_counts_the_jobs_before(api: Api) -> None:
    ids = []
    for _ in range(3):
        ids.append(api.submit())
        api.clock.advance(1)
    positions = [api.client.get(f"/v1/jobs/{i}").get_json()["queue"]["position"] for i in ids]
    assert positions == [0, 1, 2]


def test_a_running_job_asks_to_be_polled_and_an_ended_one_does_not(api: Api) -> None:
    job_id = api.submit()
    api.run(job_id)
    running = api.client.get(f"/v1/jobs/{job_id}")
    assert running.get_json()["status"] == "running"
    assert running.get_json()["queue"] is None
    assert running.headers["Retry-After"] == "1"
    api.finish(job_id)
    ended = api.client.get(f"/v1/jobs/{job_id}")
    assert ended.get_json()["status"] == "succeeded"
    assert "Retry-After" not in ended.headers


def test_what_a_job_was_given_can_be_given_again(api: Api) -> None:
    lora = {"path": str(api.shelf.root), "weight_name": "line.safetensors", "scale": 0.5}
    first = api.client.get(f"/v1/jobs/{api.submit(loras=[lora])}").get_json()["input"]
    assert first["loras"] == [lora]
    again = {name: value for name, value in first.items() if value is not None}
    again = api.client.post("/v1/jobs", json=again).get_json()["input"]
    assert again == first


def test_canceling_a_waiting_job_ends_it_and_again_changes_nothing(api: Api) -> None:
    job_id = api.submit()
    first = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (first.status_code, first.get_json()["status"]) == (200, "canceled")
    again = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.get_json()) == (200, first.get_json())
    assert api.broker.canceled == []


def test_canceling_a_running_job_is_pushed_to_its_worker(api: Api) -> None:
    job_id = api.submit()
    api.run(job_id)
    for _ in range(2):
        answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 202
        assert answer.get_json()["status"] == "running"
        assert answer.get_json()["cancel_requested"] is True
        assert answer.headers["Retry-After"] == "1"
    assert api.broker.canceled == [job_id, job_id]


def test_a_cancel_counts_though_it_cannot_be_pushed(api: Api) -> None:
    job_id = api.submit()
    api.run(job_id)
    api.broker.down = True
    assert api.client.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    assert api.store.get(job_id).cancel_requested


def test_canceling_an_ended_job_leaves_it(api: Api) -> None:
    job_id = api.submit()
    api.finish(job_id)
    answer = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "succeeded")


def test_erasing_takes_the_record_and_every_attempts_pictures(api: Api) -> None:
    job_id, other = api.submit(), api.submit()
    api.finish(job_id, [b"picture"])
    api.finish(other, [b"picture"])
    late = f"jobs/{job_id}/2/0.png"
    api.shelf.objects.put(late, b"of an attempt that lost", "image/png")
    answer = api.client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.data) == (204, b"")
    problem_of(api.client.get(f"/v1/jobs/{job_id}"), 404, "job_not_found")
    assert not api.shelf.objects.exists(late)
    assert not api.shelf.objects.exists(f"jobs/{job_id}/1/0.png")
    assert api.shelf.objects.exists(f"jobs/{other}/1/0.png")
    problem_of(api.client.delete(f"/v1/jobs/{job_id}"), 404, "job_not_found")


@pytest.mark.parametrize("running", [False, True])
def test_a_job_that_has_not_ended_is_not_erased(api: Api, running: bool) -> None:
    job_id = api.submit()
    if running:
        api.run(job_id)
    document = problem_of(api.client.delete(f"/v1/jobs/{job_id}"), 409, "job_not_finished")
    assert f"POST /v1/jobs/{job_id}/cancel" in document["detail"]
    assert api.client.get(f"/v1/jobs/{job_id}").status_code == 200


def test_an_output_leads_to_its_picture(api: Api) -> None:
    job_id = api.submit(num_images=2)
    api.finish(job_id, [b"first", b"second"])
    outputs = api.client.get(f"/v1/jobs/{job_id}").get_json()["outputs"]
    assert [output["index"] for output in outputs] == [0, 1]
    for index, data in enumerate((b"first", b"second")):
        answer = api.client.get(f"/v1/jobs/{job_id}/outputs/{index}")
        assert answer.status_code == 302
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Location"].startswith(f"{PUBLIC_URL}/files/jobs/{job_id}/")
        for url in (answer.headers["Location"], outputs[index]["url"]):
            shown = api.client.get(url.removeprefix(PUBLIC_URL), buffered=True)
            assert shown.data == data


def test_an_output_that_is_not_there_is_404(api: Api) -> None:
    job_id = api.submit()
    document = problem_of(api.client.get(f"/v1/jobs/{job_id}/outputs/0"), 404, "output_not_found")
    assert "the job is queued and has no output 0" in document["detail"]
    api.finish(job_id, [b"one"])
    problem_of(api.client.get(f"/v1/jobs/{job_id}/outputs/1"), 404, "output_not_found")


class DownStore(MemoryJobStore):
    """A store whose server does not answer."""

    def get(self, job_id: str) -> Job:
        raise StoreUnavailable("Redis does not answer")

    def submit(self, *submission: object, **options: object) -> NoReturn:
        raise StoreUnavailable("Redis does not answer")


def test_a_store_that_is_down_is_503_and_says_when_to_retry(shelf: Shelf) -> None:
    api = Api(shelf, store=DownStore())
    for answer in (api.client.get("/v1/jobs/x"), api.client.post("/v1/jobs", json=REQUEST)):
        document = problem_of(answer, 503, "store_unavailable")
        assert document["retryable"]
        assert answer.headers["Retry-After"] == "2"


def test_every_state_has_a_document(api: Api) -> None:
    waiting, running, ended = api.submit(), api.submit(), api.submit()
    api.run(running)
    api.finish(ended)
    api.client.post(f"/v1/jobs/{waiting}/cancel")
    jobs = api.client.get("/v1/jobs").get_json()["jobs"]
    found = {job["id"]: job["status"] for job in jobs}
    assert found == {
        waiting: JobStatus.CANCELED,
        running: JobStatus.RUNNING,
        ended: JobStatus.SUCCEEDED,
    }


def test_a_full_queue_is_429_and_says_when_to_come_back(api: Api) -> None:
    api.store.rules = QueueRules(max_waiting=1)
    assert api.client.post("/v1/jobs", json=REQUEST).status_code == 202
    answer = api.client.post("/v1/jobs", json=REQUEST)
    assert (answer.status_code, answer.get_json()["code"]) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) > 0


def test_priority_and_deadline_are_taken_and_echoed(api: Api) -> None:
    body = REQUEST | {"priority": "high", "start_deadline_s": 60}
    answer = api.client.post("/v1/jobs", json=body).get_json()
    assert (answer["input"]["priority"], answer["input"]["start_deadline_s"]) == ("high", 60)
    for wrong in ({"priority": "urgent"}, {"start_deadline_s": 0}):
        refused = api.client.post("/v1/jobs", json=REQUEST | wrong)
        assert refused.status_code == 422
        assert refused.get_json()["errors"][0]["pointer"] == f"/{next(iter(wrong))}"
