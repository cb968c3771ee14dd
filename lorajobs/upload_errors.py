"""What can be wrong with a file that is sent to the object store by a signed URL.

LoraJobsError
├── RequestError
│   ├── UploadMismatch   422 upload_mismatch
│   └── LoraNotReady     422 lora_not_ready
└── UploadAwaited        409 upload_awaited
"""

from typing import Self

from lorajobs.errors import LoraJobsError, RequestError


class UploadMismatch(RequestError):
    """What was sent is not what was announced."""

    code, title = "upload_mismatch", "Other bytes than announced"

    @classmethod
    def of(cls, where: str, size: int, sha256: str, has: int, has_sha256: str) -> Self:
        """The error for other bytes, or another number of them, than announced."""
        if has != size:
            return cls(f"{where} has {has} bytes, announced were {size}")
        return cls(f"{where} has the SHA-256 {has_sha256}, announced was {sha256}")


class LoraNotReady(RequestError):
    """The adapter's file is still awaited, or was not looked at yet."""

    code, title = "lora_not_ready", "The adapter is not ready"


class UploadAwaited(LoraJobsError):
    """The upload cannot be completed, for its file did not come yet."""

    code, title, status = "upload_awaited", "The file did not come yet", 409
