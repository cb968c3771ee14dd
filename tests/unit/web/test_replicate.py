"""Replicate's surface, asked by its real client in this process; `tests/e2e` has it on a server."""

from collections.abc import Sequence
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.prediction import Prediction

from lorajobs.events import Event
from lorajobs.jobs import Job, JobStatus, Outcome, Stage
from lorajobs.prediction import STATUSES
from lorajobs.store import Progress
from tests.jobs import lease_of
from tests.shelf import Shelf
from tests.unit.web.api import problem_of
from tests.unit.web.painted import PaintedApi
from tests.unit.web.replicate_client import client_of

INPUT = {"prompt": "a red heart", "seed": 7}
KNOWN = {"starting", "processing", "succeeded", "failed", "canceled"}


@pytest.fixture
def api(shelf: Shelf) -> PaintedApi:
    return PaintedApi(shelf)


@pytest.fixture
def client(api: PaintedApi) -> Client:
    return client_of(api)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> PaintedApi:
    """One for all that is refused."""
    return PaintedApi(Shelf(tmp_path_factory.mktemp("refusing")))


def create_job(api: PaintedApi, client: Client, **fields: Any) -> Job:
    """A prediction's job, which nobody works on."""
    return api.store.get(client.predictions.create("demo", {**INPUT, **fields}).id)


def used(job: Job) -> list[tuple[str, float]]:
    return [(use.adapter.id, use.scale) for use in job.spec.loras]


@pytest.mark.parametrize(
    "ref", ["lorajobs/demo", "lorajobs/demo:demo", "owner/demo", "Owner/Demo:lorajobs/emoji"]
)
def test_a_base_is_run_by_any_of_its_names(api: PaintedApi, client: Client, ref: str) -> None:
    outputs = client.run(ref, input={**INPUT, "num_outputs": 2})
    (job,) = api.jobs
    assert (job.spec.model, job.spec.num_images, job.spec.prompt) == ("demo", 2, "a red heart")
    # Behind https they are files to the client.
    assert [output.read()[:4] for output in outputs] == [b"\x89PNG"] * 2


@pytest.mark.parametrize(
    ("version", "fields", "loras"),
    [
        ("demo", {"lora_weights": "pixel"}, [("pixel", 0.8)]),
        ("demo", {"lora_weights": "lorajobs/pixel", "lora_scale": 0.4}, [("pixel", 0.4)]),
        (
            "demo",
            {"lora_weights": "line", "extra_lora": "pixel", "extra_lora_scale": 0.3},
            [("line", 1.0), ("pixel", 0.3)],
        ),
        ("lorajobs/pixel", {}, [("pixel", 0.8)]),
        ("lorajobs/pixel:pixel", {"lora_scale": 0.5}, [("pixel", 0.5)]),
        ("pixel", {"extra_lora": "line"}, [("pixel", 0.8), ("line", 1.0)]),
        ("demo", {"loras": [{"id": "line", "scale": 2}]}, [("line", 2.0)]),
    ],
)
def test_adapters_come_as_people_send_them_there(
    api: PaintedApi, version: str, fields: dict[str, Any], loras: list[tuple[str, float]]
) -> None:
    client = client_of(api)
    prediction = client.predictions.create(version, {**INPUT, **fields}, wait=True)
    assert prediction.status == "succeeded"
    assert used(api.store.get(prediction.id)) == loras
    assert prediction.logs
    for name, scale in loras:
        (line,) = [line for line in prediction.logs.splitlines() if f"Applied {name} " in line]
        assert line.endswith(f"at scale {scale:g}")


def test_an_input_is_a_job_s_and_comes_back(api: PaintedApi, client: Client) -> None:
    given = {
        "prompt": "a blue sea",
        "negative_prompt": "blur",
        "width": 64,
        "height": 128,
        "num_inference_steps": 5,
        "guidance_scale": 3.5,
        "seed": 3,
        "num_outputs": 2,
        "scheduler": "EulerDiscreteScheduler",
        "output_format": "webp",
        "output_quality": 40,
    }
    prediction = client.predictions.create("demo", given)
    assert prediction.input == given | {"loras": []}
    (job,) = api.jobs
    assert (job.spec.output.format, job.spec.output.quality) == ("webp", 40)
    assert create_job(api, client, output_format="jpg").spec.output.format == "jpeg"
    assert create_job(api, client, guidance=2.5).spec.guidance_scale == 2.5


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"aspect_ratio": "1:1"}, "/input/aspect_ratio: unknown field; known are `"),
        ({"prompt": None}, "/input/prompt: give a string"),
        ({"num_outputs": 5}, "/input/num_outputs: give at most 4 for demo, not 5"),
        ({"width": 65}, "/input/width: give a multiple of 32"),
        ({"guidance": 30}, "/input/guidance: give at most 20.0 for demo, not 30.0"),
        ({"guidance": 1, "guidance_scale": 1}, "/input: give either `guidance` or"),
        ({"lora_scale": 1}, "/input/lora_scale: give it with `lora_weights`, or with"),
        ({"extra_lora_scale": 1}, "/input: give `extra_lora_scale` only with `extra_lora`"),
        ({"output_format": "gif"}, "/input/output_format: give `png`, `jpg` or `webp`"),
        ({"lora_weights": "pixie"}, 'no adapter is registered as "pixie"; known are `pixel`'),
        ({"lora_weights": "civitai.com/models/7"}, "is not a reference"),
        ({"strength": 0.5}, "/input/strength: give it only with `image`"),
        ({"prompt_strength": 0.5}, "/input/prompt_strength: give it only with `image`"),
    ],
)
def test_what_is_wrong_is_told_of_the_client_s_own_fields(
    refusing: PaintedApi, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(ReplicateError) as refused:
        client_of(refusing).predictions.create("demo", {**INPUT, **fields})
    assert refused.value.status == 422
    assert refused.value.title
    assert told in (refused.value.detail or "")
    assert not refusing.jobs


def test_the_pointers_are_the_client_s(refusing: PaintedApi) -> None:
    def pointer(**body: Any) -> str:
        body = {"version": "demo", "input": INPUT} | body
        answer = refusing.client.post("/v1/predictions", json=body)
        assert answer.status_code == 422
        assert answer.content_type == "application/problem+json"
        (error,) = answer.get_json()["errors"]
        return str(error["pointer"])

    assert pointer(version="nobody") == "/version"
    assert pointer(version="lorajobs/demo:pixel") == "/version"
    assert pointer(webhook="https://private.example") == "/webhook"
    assert pointer(webhook="nowhere") == "/webhook"
    assert pointer(webhook_completed="https://receiver.example") == "/webhook_completed"
    assert pointer(input=INPUT | {"lora_weights": "pixie"}) == "/input/lora_weights"
    twice = {"lora_weights": "pixel", "extra_lora": "pixel"}
    assert pointer(input=INPUT | twice) == "/input/extra_lora"
    low = {"lora_weights": "pixel", "loras": [{"id": "far"}]}
    assert pointer(input=INPUT | low) == "/input/loras/0"


def test_a_deadline_that_would_not_be_kept_is_refused(refusing: PaintedApi) -> None:
    asked = {"version": "demo", "input": INPUT}
    headers = {"Cancel-After": "1m"}
    answer = refusing.client.post("/v1/predictions", json=asked, headers=headers)
    (error,) = problem_of(answer, 422, "validation")["errors"]
    assert error["pointer"] == "Cancel-After"
    assert "start_deadline_s" in error["detail"]
    assert not refusing.jobs


def test_what_concerns_the_whole_body_has_no_pointer(refusing: PaintedApi) -> None:
    asked = {"version": "demo", "input": INPUT, "webhook_events_filter": ["start"]}
    document = problem_of(refusing.client.post("/v1/predictions", json=asked), 422, "validation")
    assert document["detail"] == "give `webhook_events_filter` only with `webhook`"


def test_every_status_is_one_that_clients_know() -> None:
    assert set(STATUSES) == set(JobStatus)
    assert set(STATUSES.values()) == KNOWN
    assert STATUSES[JobStatus.EXPIRED] == "canceled"


def test_a_prediction_that_did_not_start_in_time_was_canceled(
    api: PaintedApi, client: Client
) -> None:
    job_id = api.submit(start_deadline_s=1)
    api.clock.advance(2)
    api.store.rescue()
    prediction = client.predictions.get(job_id)
    assert prediction.status == "canceled"
    assert "start_deadline_s" in (prediction.error or "")


def test_a_submit_s_answer_is_starting_or_the_end(api: PaintedApi, client: Client) -> None:
    """`run` takes any other word for the last one."""
    once = {"Idempotency-Key": "order-7"}
    body = {"version": "demo", "input": INPUT}
    first = api.client.post("/v1/predictions", json=body, headers=once)
    assert (first.status_code, first.get_json()["status"]) == (201, "starting")
    job_id = first.get_json()["id"]
    assert first.location == f"https://api.example/v1/predictions/{job_id}"
    api.run(job_id)
    assert client.predictions.get(job_id).status == "processing"
    again = api.client.post("/v1/predictions", json=body, headers=once)
    assert (again.get_json()["id"], again.get_json()["status"]) == (job_id, "starting")


@pytest.mark.parametrize(
    ("prefer", "asked"), [("wait", 59.0), ("wait=60", 59.0), ("wait=20", 19.0)]
)
def test_the_answer_comes_before_the_client_gives_up(
    shelf: Shelf, prefer: str, asked: float
) -> None:
    api = PaintedApi(shelf, settings=shelf.settings.model_copy(update={"heartbeat_s": 90.0}))
    blocks: list[float] = []

    def watched(job_id: str, after: str, block_s: float) -> Sequence[Event]:
        blocks.append(block_s)
        return painted(job_id, after, block_s)

    painted, api.painter.events = api.painter.events, watched  # type: ignore[method-assign]
    api.client.post(
        "/v1/predictions", json={"version": "demo", "input": INPUT}, headers={"Prefer": prefer}
    )
    assert asked - 10 < blocks[0] <= asked


def test_who_does_not_wait_is_answered_at_once(api: PaintedApi, client: Client) -> None:
    job = create_job(api, client)
    assert job.status is JobStatus.QUEUED


def test_a_failure_is_told(api: PaintedApi, client: Client) -> None:
    with pytest.raises(ModelError, match="the prompt asked for bad_picture") as failed:
        client.run("lorajobs/demo", input={**INPUT, "prompt": "fail:bad_picture"})
    prediction = failed.value.prediction
    assert (prediction.status, prediction.output) == ("failed", None)
    assert "predict_time" in (prediction.metrics or {})


def test_a_cancel_may_come_twice_and_late(api: PaintedApi, client: Client) -> None:
    prediction = client.predictions.create("demo", INPUT)
    for _ in range(2):
        prediction.cancel()
        assert prediction.status == "canceled"
    done = client.predictions.create("demo", INPUT, wait=True)
    done.cancel()
    assert done.status == "succeeded"
    running = client.predictions.create("demo", INPUT)
    api.run(running.id)
    running.cancel()
    assert running.status == "processing"
    assert api.broker.canceled == [running.id]


def test_progress_is_read_from_the_logs(api: PaintedApi, client: Client) -> None:
    job = create_job(api, client, num_inference_steps=40)
    assert client.predictions.get(job.id).progress is None
    lease = lease_of(api.store.claim("demo", job.id, "w", "t"))
    assert lease
    api.store.renew(lease, Progress(Stage.DENOISING, 10, 40))
    progress = client.predictions.get(job.id).progress
    assert progress == Prediction.Progress(0.25, 10, 40)
    assert progress
    api.store.finish(lease, Outcome(status=JobStatus.SUCCEEDED))
    progress = client.predictions.get(job.id).progress
    assert progress == Prediction.Progress(1.0, 40, 40)
