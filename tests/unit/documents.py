"""Jobs as the API shows them, for tests of its clients."""

import hashlib
import json
from typing import Any

PICTURE = b"the bytes of a picture"


def job_document(status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    """A job with one adapter; changes replace fields."""
    ended = status == "succeeded"
    return {
        "id": "2f6c0f0e-0000-4000-8000-000000000001",
        "status": status,
        "stage": None,
        "progress": {"step": 20 if ended else 0, "steps": 20},
        "input": {"model": "demo", "prompt": "a red heart", "seed": 7},
        "applied_loras": [{"id": "pixel", "revision": "r", "sha256": "s", "scale": 0.9}]
        if ended
        else [],
        "warnings": [],
        "queue": {"position": 3} if status == "queued" else None,
        "attempts": 1,
        "created_at": "2026-11-22T07:00:00.000Z",
        "started_at": "2026-11-22T07:00:01.000Z" if ended else None,
        "completed_at": "2026-11-22T07:00:02.000Z" if ended else None,
        "outputs": [],
        "error": None,
        "metrics": {"queue_s": 0.5, "swap_s": 0.02, "generate_s": 1.25, "upload_s": None},
        **changes,
    }


def output_document(url: str, index: int = 0, data: bytes = PICTURE) -> dict[str, Any]:
    """One stored picture."""
    return {
        "index": index,
        "url": url,
        "content_type": "image/png",
        "sha256": hashlib.sha256(data).hexdigest(),
        "seed": 7 + index,
    }


def event_stream(*events: tuple[str, dict[str, Any]], first: int = 0) -> bytes:
    """Events as the API sends them, numbered from `first`."""
    frames = [
        f"id: 1700-{number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n: still here\n\n"
        for number, (kind, data) in enumerate(events, first)
    ]
    return ("retry: 1000\n\n" + "".join(frames)).encode()
