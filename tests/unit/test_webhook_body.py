"""The body of a webhook: the job as the API shows it, never too large for a receiver."""

import json
from datetime import UTC, datetime

from lorajobs.document import job_document
from lorajobs.jobs import Job, JobStatus
from lorajobs.storage.base import SignedUrl
from lorajobs.webhooks import MAX_BODY_BYTES, webhook_body
from tests.jobs import a_job, an_output
from tests.unit.test_document import Signer


class LongUrls(Signer):
    """Pictures with URLs as long as S3 signs them with a session's token."""

    def url(self, key: str) -> SignedUrl:
        return SignedUrl(f"https://s3.example/{key}?{'X' * 1500}", datetime.now(UTC))


def large_job() -> Job:
    """A job of eight pictures whose prompt is as long as one may be, in four bytes a character."""
    job = a_job(prompt="\N{GRINNING FACE}" * 10_000, negative_prompt="\N{GRINNING FACE}" * 10_000)
    outputs = tuple(an_output(index=index) for index in range(8))
    ended = {"status": JobStatus.SUCCEEDED, "outputs": outputs}
    return job.model_copy(update=ended)


def test_a_large_job_s_body_is_cut_to_links() -> None:
    job = job_document(large_job(), LongUrls(), "https://api.example", None)
    body = webhook_body("job.succeeded", datetime.now(UTC), job)
    assert len(body) <= MAX_BODY_BYTES
    data = json.loads(body)["data"]
    assert data["truncated"][0] == "input"
    assert data["input"] is None
    assert data["status"] == "succeeded"
    assert data["urls"]["self"].startswith("https://api.example/v1/jobs/")
    # What is not named is whole.
    whole = {name: value for name, value in data.items() if name not in data["truncated"]}
    del whole["truncated"]
    assert whole.items() <= json.loads(json.dumps(job)).items()


def test_a_small_job_s_body_is_whole() -> None:
    job = job_document(a_job(), LongUrls(), "https://api.example", None)
    assert json.loads(webhook_body("job.failed", datetime.now(UTC), job))["data"] == json.loads(
        json.dumps(job)
    )
