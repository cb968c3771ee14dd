"""A job as a prediction of Replicate's, in the API and in webhooks."""

import json
from datetime import UTC, datetime

import pytest
from replicate.prediction import Prediction

from lorajobs.jobs import AppliedLora, Job, JobError, JobStatus, JobWarning
from lorajobs.prediction import prediction_document, progress_line
from lorajobs.spec import AdapterUse, Webhook
from lorajobs.webhooks import MAX_BODY_BYTES, shape_of, webhook_body
from tests.jobs import a_job, an_adapter, an_output
from tests.unit.test_document import Signer
from tests.unit.test_webhook_body import LongUrls, large_job

API = "https://api.example/"
SIGNED = "https://hub.example/a.safetensors?token=t0ken"


def parsed(job: Job) -> Prediction:
    """The prediction as the client reads it."""
    return Prediction(**json.loads(json.dumps(prediction_document(job, Signer(), API))))


def ended(**fields: object) -> Job:
    uses = (AdapterUse(adapter=an_adapter(SIGNED, weight_name="a.safetensors"), scale=0.5),)
    own = {
        "status": JobStatus.SUCCEEDED,
        "steps": 4,
        "created_ms": 1_700_000_000_000,
        "started_ms": 1_700_000_001_500,
        "completed_ms": 1_700_000_004_000,
        "applied_loras": (AppliedLora(id=SIGNED, revision="r", sha256="5ha", scale=0.5),),
        "outputs": (an_output(), an_output(index=1, key="jobs/j/1/1.png")),
        "warnings": (JobWarning(code="lora_scale", detail="much"),),
    }
    return a_job(loras=uses, num_images=2).model_copy(update={**own, **fields})


def test_a_prediction_that_succeeded() -> None:
    made = parsed(ended())
    assert (made.status, made.model, made.version, made.error) == (
        "succeeded",
        "lorajobs/demo",
        "demo",
        None,
    )
    assert made.output == [
        "https://pictures.example/jobs/j/1/0.png?signed",
        "https://pictures.example/jobs/j/1/1.png?signed",
    ]
    assert made.metrics == {"predict_time": 2.5, "total_time": 4.0}
    assert made.created_at == "2023-11-14T22:13:20.000Z"
    assert made.logs == (
        "Using seed: 7\n"
        "Warning: much\n"
        "Applied https://hub.example/a.safetensors?… (sha256 5ha) at scale 0.5\n"
        "100%|██████████| 4/4"
    )
    assert made.urls
    assert made.urls["get"] == f"https://api.example/v1/predictions/{made.id}"
    assert "t0ken" not in made.json()


def test_a_prediction_that_did_not() -> None:
    error = JobError(code="oom", title="Out of memory", detail="8 of 9 GB", retryable=True)
    made = parsed(ended(status=JobStatus.FAILED, error=error))
    assert (made.status, made.output) == ("failed", None)
    assert made.error == "Out of memory: 8 of 9 GB"


def test_one_that_never_started_took_no_time() -> None:
    made = parsed(ended(status=JobStatus.CANCELED, started_ms=None))
    assert (made.metrics, made.started_at) == ({"total_time": 4.0}, None)


@pytest.mark.parametrize("step", [1, 3, 39, 40])
def test_clients_read_progress_from_its_line(step: int) -> None:
    read = Prediction.Progress.parse(f"Using seed: 7\n{progress_line(step, 40)}")
    assert read == Prediction.Progress(100 * step // 40 / 100, step, 40)


def test_the_webhook_decides_its_shape() -> None:
    url = "https://receiver.example"
    assert shape_of(a_job()) == "job"
    assert shape_of(a_job(webhook=Webhook(url=url))) == "job"
    assert shape_of(a_job(webhook=Webhook(url=url, shape="prediction"))) == "prediction"


def test_its_body_is_the_bare_prediction() -> None:
    told = prediction_document(ended(), Signer(), API)
    body = webhook_body("job.succeeded", datetime.now(UTC), told, "prediction")
    assert json.loads(body) == json.loads(json.dumps(told))


def test_a_large_prediction_is_cut_and_stays_one() -> None:
    told = prediction_document(large_job(), LongUrls(), API)
    body = webhook_body("job.succeeded", datetime.now(UTC), told, "prediction")
    assert len(body) <= MAX_BODY_BYTES
    data = json.loads(body)
    assert data["truncated"] == ["input"]
    made = Prediction(**data)
    assert (made.status, made.input, len(made.output or [])) == ("succeeded", None, 8)
