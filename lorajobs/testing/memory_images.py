"""Uploaded pictures in memory: the same verbs and contract suite as those on Redis."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lorajobs.uploaded_images import UploadedImage


@dataclass
class MemoryImages:
    """An ImageRecords in one process."""

    clock_ms: Callable[[], int] = field(default=lambda: int(time.time() * 1000))
    _records: dict[tuple[str, str], UploadedImage] = field(default_factory=dict)
    _erasures: dict[str, int] = field(default_factory=dict)

    def find(self, owner: str, sha256: str) -> UploadedImage | None:
        found = self._records.get((owner, sha256))
        return found if found and found.expires_ms > self.clock_ms() else None

    def put(self, image: UploadedImage, ttl_s: float) -> UploadedImage:
        kept = image.model_copy(update={"expires_ms": self.clock_ms() + int(ttl_s * 1000)})
        self._records[image.owner, image.sha256] = kept
        return kept

    def remove(self, image: UploadedImage) -> None:
        self._erasures[image.key] = self.clock_ms()
        self._records.pop((image.owner, image.sha256), None)

    def expect(self, key: str, after_s: float) -> None:
        self._erasures[key] = self.clock_ms() + int(after_s * 1000)

    def due(self, limit: int) -> Sequence[str]:
        now = self.clock_ms()
        due = [(at_ms, key) for key, at_ms in self._erasures.items() if at_ms <= now]
        return [key for _, key in sorted(due)][:limit]

    def forget(self, key: str) -> None:
        self._erasures.pop(key, None)
