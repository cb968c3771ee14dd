"""Builders of jobs for tests."""

import hashlib
import uuid
from typing import Any

from lorajobs.jobs import Job, JobStatus, Lease, Output
from lorajobs.spec import Adapter, AdapterUse, JobSpec, OutputFormat


def an_adapter(name: str = "pixel", **fields: Any) -> Adapter:
    """An adapter pinned to made-up bytes."""
    sha = hashlib.sha256(name.encode()).hexdigest()
    return Adapter(
        **{
            "id": name,
            "location": f"blob:{sha}",
            "revision": f"sha256:{sha}",
            "sha256": sha,
            "bytes": 10,
            "weight_name": f"{name}.safetensors",
            **fields,
        }
    )


def a_spec(**fields: Any) -> JobSpec:
    """A valid spec for the demo base."""
    return JobSpec(
        **{
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
            "loras": (),
            "output": OutputFormat(),
            "webhook": None,
            "metadata": {},
            **fields,
        }
    )


def a_job(**fields: Any) -> Job:
    """A job that waits."""
    return Job(id=str(uuid.uuid4()), status=JobStatus.QUEUED, spec=a_spec(**fields), created_ms=0)


def an_output(**fields: Any) -> Output:
    """A stored picture of made-up bytes."""
    return Output(
        **{
            "index": 0,
            "key": "jobs/j/1/0.png",
            "content_type": "image/png",
            "width": 128,
            "height": 128,
            "bytes": 3,
            "sha256": "f" * 64,
            "seed": 7,
            **fields,
        }
    )


def use(name: str = "pixel", scale: float = 1.0) -> AdapterUse:
    """One adapter at one scale."""
    return AdapterUse(adapter=an_adapter(name), scale=scale)


def lease_of(job: Job | None) -> Lease | None:
    """The lease of a claimed job, None if none was."""
    return job.lease if job else None
