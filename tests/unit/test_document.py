"""The public JSON of a job."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lorajobs.document import job_document, queue_document, timestamp, without_secrets
from lorajobs.jobs import (
    AppliedLora,
    Job,
    JobError,
    JobStatus,
    JobWarning,
    Metrics,
    Stage,
    Withheld,
)
from lorajobs.place import NOBODY, Crew, Place
from lorajobs.spec import AdapterUse, Webhook
from lorajobs.storage.base import SignedUpload, SignedUrl
from tests.jobs import a_job, an_adapter, an_output

URL = "https://bucket.s3.amazonaws.com/secret.safetensors?X-Amz-Signature=abc"
EXPIRES = datetime(2026, 1, 2, 3, 4, 5, 600_700, UTC)
#: A job that waits, as everybody sees it.
WAITING: dict[str, Any] = {
    "id": "j1",
    "status": "queued",
    "stage": None,
    "progress": {"step": 0, "steps": 4},
    "cancel_requested": False,
    "input": {
        "model": "demo",
        "prompt": "a red heart",
        "negative_prompt": "",
        "width": 128,
        "height": 128,
        "num_inference_steps": 4,
        "guidance_scale": 4.0,
        "seed": 7,
        "num_images": 1,
        "scheduler": None,
        "output": {"format": "png", "quality": 90},
        "metadata": {"order": "7"},
        "priority": "normal",
        "start_deadline_s": None,
        "on_lora_error": "fail",
        "image": None,
        "strength": None,
        "loras": [],
        "webhook": None,
    },
    "applied_loras": [],
    "warnings": [],
    "queue": {"position": 3},
    "attempts": 0,
    "retry_of": None,
    "created_at": "1970-01-01T00:00:00.000Z",
    "started_at": None,
    "completed_at": None,
    "outputs": [],
    "error": None,
    "metrics": {
        "queue_s": None,
        "base_s": None,
        "fetch_s": None,
        "swap_s": None,
        "generate_s": None,
        "check_s": None,
        "upload_s": None,
        "swapped": None,
        "tiers": None,
    },
    "urls": {
        "self": "https://api.example/v1/jobs/j1",
        "cancel": "https://api.example/v1/jobs/j1/cancel",
        "events": "https://api.example/v1/jobs/j1/events",
    },
}


class Signer:
    """An object store that can only sign."""

    def url(self, key: str) -> SignedUrl:
        return SignedUrl(f"https://pictures.example/{key}?signed", EXPIRES)

    def put(self, key: str, data: bytes, content_type: str) -> None: ...

    def keep(self, path: Path, key_of: Callable[[str], str]) -> str:
        return path.name

    def fetch(self, key: str, target: Path, max_bytes: int) -> None: ...

    def read(self, key: str, max_bytes: int) -> bytes:
        raise FileNotFoundError(key)

    def exists(self, key: str) -> bool:
        return True

    def upload_url(self, key: str, size: int, sha256: str, ttl_s: int) -> SignedUpload:
        return SignedUpload(f"https://pictures.example/{key}?signed", {}, EXPIRES)

    def delete(self, prefix: str) -> None: ...


def document(job: Job, queue: dict[str, object] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = job_document(job, Signer(), "https://api.example/", queue)
    assert json.loads(json.dumps(made)) == made
    return made


def test_a_waiting_job() -> None:
    job = a_job(metadata={"order": "7"}).model_copy(update={"id": "j1", "steps": 4})
    assert document(job, {"position": 3}) == WAITING


def ended() -> Job:
    registered = an_adapter("pixel", registered=True, location="hf:secret/repo@0/f", base="b")
    reference = an_adapter(URL, weight_name="secret.safetensors")
    uses = (AdapterUse(adapter=registered, scale=0.5), AdapterUse(adapter=reference, scale=1))
    hook = Webhook(url="https://receiver.example/hook?token=t0ken")
    applied = AppliedLora(id=URL, revision="r", sha256="s", scale=1.0)
    return a_job(loras=uses, webhook=hook).model_copy(
        update={
            "status": JobStatus.SUCCEEDED,
            "stage": Stage.UPLOADING,
            "worker": "w1@internal-host",
            "attempt": 2,
            "started_ms": 1_700_000_000_123,
            "completed_ms": 1_700_000_001_000,
            "applied_loras": (applied,),
            "outputs": (
                an_output(width=1, height=2, sha256="f", nsfw=False),
                Withheld(index=1, width=3, height=4, seed=8),
            ),
            "warnings": (JobWarning(code="lora_scale", detail="d"),),
            "metrics": Metrics(queue_s=1.5, swapped=True),
        }
    )


def test_an_ended_job() -> None:
    made = document(ended())
    assert (made["status"], made["stage"], made["queue"]) == ("succeeded", "uploading", None)
    assert made["attempts"] == 2
    assert made["started_at"] == "2023-11-14T22:13:20.123Z"
    assert made["completed_at"] == "2023-11-14T22:13:21.000Z"
    assert made["warnings"] == [{"code": "lora_scale", "detail": "d"}]
    assert made["metrics"]["queue_s"] == 1.5
    assert made["outputs"] == [
        {
            "index": 0,
            "url": "https://pictures.example/jobs/j/1/0.png?signed",
            "url_expires_at": "2026-01-02T03:04:05.600Z",
            "content_type": "image/png",
            "width": 1,
            "height": 2,
            "bytes": 3,
            "sha256": "f",
            "seed": 7,
            "nsfw": False,
        },
        {
            "index": 1,
            "url": None,
            "url_expires_at": None,
            "content_type": None,
            "width": 3,
            "height": 4,
            "bytes": None,
            "sha256": None,
            "seed": 8,
            "nsfw": True,
        },
    ]


def test_adapters_are_shown_as_they_were_asked_for() -> None:
    made = document(ended())
    shown = "https://bucket.s3.amazonaws.com/secret.safetensors?…"
    assert made["input"]["loras"] == [
        {"id": "pixel", "scale": 0.5},
        {"path": shown, "scale": 1.0, "weight_name": "secret.safetensors"},
    ]
    (applied,) = made["applied_loras"]
    assert (applied["id"], applied["sha256"], applied["scale"]) == (shown, "s", 1.0)
    assert applied.keys() >= {"modules", "rank", "effective_scale", "alpha_assumed"}


@pytest.mark.parametrize("secret", ["t0ken", "X-Amz", "internal-host", "hf:secret", "blob:"])
def test_what_is_nobodys_business_is_not_shown(secret: str) -> None:
    assert secret not in json.dumps(document(ended()))


def test_a_job_submitted_again_names_the_old_one_outside_of_its_input() -> None:
    made = document(a_job(retry_of="j0"))
    assert made["retry_of"] == "j0"
    assert "retry_of" not in made["input"]


def test_a_failed_job_says_why() -> None:
    error = JobError(code="oom", title="Out of memory", detail="d", retryable=True)
    job = a_job().model_copy(update={"status": JobStatus.FAILED, "error": error})
    assert document(job)["error"] == {
        "code": "oom",
        "title": "Out of memory",
        "detail": "d",
        "retryable": True,
    }


@pytest.mark.parametrize("ms", [0, 1, 999, 1_700_000_000_001, 1_700_000_000_999])
def test_times_keep_their_milliseconds(ms: int) -> None:
    text = timestamp(ms)
    assert text is not None
    assert round(datetime.fromisoformat(text).timestamp() * 1000) == ms
    assert text.endswith(f".{ms % 1000:03}Z")


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("pixel", "pixel"),
        ("hf:owner/name@main", "hf:owner/name@main"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("https://user:pw@host/a", "https://host/a"),
        ("https://host/a?b=c#d", "https://host/a?…"),
    ],
)
def test_references_lose_their_secrets(reference: str, shown: str) -> None:
    assert without_secrets(reference) == shown


def test_where_a_job_waits() -> None:
    place = Place(position=4, ahead_max=6, delayed=False, service_s=2.0)
    shown = queue_document(place, crew=Crew(2, 0))
    assert shown == {"position": 4, "ahead_max": 6, "eta_s": 5.0, "reason": "waiting"}
    assert queue_document(place._replace(position=1), crew=Crew(2, 2))["eta_s"] == 0
    assert queue_document(place._replace(position=2), crew=Crew(2, 2))["eta_s"] == 1
    assert queue_document(place, crew=NOBODY)["reason"] == "no_worker"
    assert queue_document(place, crew=NOBODY)["eta_s"] is None
    assert queue_document(place._replace(delayed=True), crew=Crew(1, 0))["reason"] == "retry"
    assert queue_document(place._replace(service_s=None), crew=Crew(1, 0))["eta_s"] is None
