"""A job as Replicate shows a prediction: the same in the API for its clients and in webhooks."""

from collections.abc import Mapping

from lorajobs.document import Document, input_document, timestamp, without_secrets
from lorajobs.jobs import Job, JobStatus
from lorajobs.spec import JobSpec
from lorajobs.storage.base import ObjectStore

#: The owner of what has no slash in its id: Replicate's models are all `owner/name`.
OWNER = "lorajobs"
#: Replicate's clients know these five and refuse any other.
STATUSES: Mapping[JobStatus, str] = {
    JobStatus.QUEUED: "starting",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "canceled",
    JobStatus.EXPIRED: "canceled",
}
#: The inputs that have another name here.
RENAMED: Mapping[str, str] = {"num_outputs": "num_images"}
_SAME = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "seed",
    "scheduler",
    "loras",
)
_BAR = 10


def prediction_document(job: Job, objects: ObjectStore, public_url: str) -> Document:
    """A job as a prediction, with freshly signed picture URLs; times are RFC 3339 in UTC."""
    root = public_url.rstrip("/")
    this = f"{root}/v1/predictions/{job.id}"
    return {
        "id": job.id,
        "model": reference(job.spec.model),
        "version": job.spec.model,
        "status": STATUSES[job.status],
        "input": _input(job.spec),
        "output": output_urls(job, objects),
        "logs": _logs(job),
        "error": error_text(job),
        "metrics": _metrics(job),
        "created_at": timestamp(job.created_ms),
        "started_at": timestamp(job.started_ms),
        "completed_at": timestamp(job.completed_ms),
        "data_removed": False,
        "source": "api",
        "urls": {
            "get": this,
            "cancel": f"{this}/cancel",
            "stream": f"{this}/stream",
            "web": f"{root}/v1/jobs/{job.id}",
        },
    }


def reference(name: str) -> str:
    """A base's or an adapter's id as `owner/name`."""
    return name if "/" in name else f"{OWNER}/{name}"


def output_urls(job: Job, objects: ObjectStore) -> list[str] | None:
    """Signed URLs of the pictures, None unless the job has succeeded."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    return [objects.url(output.key).url for output in job.pictures]


def error_text(job: Job) -> str | None:
    """What went wrong, in one line."""
    return f"{job.error.title}: {job.error.detail}" if job.error else None


def progress_line(step: int, steps: int) -> str:
    """The bar of tqdm, from which Replicate's clients read the progress."""
    filled = _BAR * step // steps
    bar = "█" * filled + " " * (_BAR - filled)
    return f"{100 * step // steps:3d}%|{bar}| {step}/{steps}"


def _input(spec: JobSpec) -> Document:
    told = input_document(spec)
    return {
        **{name: told[name] for name in _SAME},
        **{name: told[ours] for name, ours in RENAMED.items()},
        "output_format": spec.output.format,
        "output_quality": spec.output.quality,
        **({"image": spec.image.reference, "strength": spec.strength} if spec.image else {}),
    }


def _logs(job: Job) -> str:
    lines = [f"Using seed: {job.spec.seed}"]
    lines += [f"Warning: {warning.detail}" for warning in job.warnings]
    lines += [
        f"Applied {without_secrets(lora.id)} (sha256 {lora.sha256}) at scale {lora.scale:g}"
        for lora in job.applied_loras
    ]
    if withheld := len(job.outputs) - len(job.pictures):
        lines.append(f"Withheld {withheld} of {len(job.outputs)} pictures: a checker flagged them")
    step = job.steps if job.status is JobStatus.SUCCEEDED else job.step
    if step and job.steps:
        lines.append(progress_line(step, job.steps))
    return "\n".join(lines)


def _metrics(job: Job) -> dict[str, float]:
    """Seconds of the last attempt and of the whole job, once it has ended."""
    if job.completed_ms is None:
        return {}
    total = {"total_time": (job.completed_ms - job.created_ms) / 1000}
    if job.started_ms is None:
        return total
    return {"predict_time": (job.completed_ms - job.started_ms) / 1000, **total}
