"""On what terms a job is submitted: how many may wait, and how a repetition is known."""

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from lorajobs.access_errors import IdempotencyMismatch

#: Seconds for which a repeated submit finds its job.
KEPT_S = 86_400
ERASED = "the job of this Idempotency-Key was erased; use another key for another job"


class Once(NamedTuple):
    """By what a client's repeated request is known; both are SHA-256."""

    #: of who asks, where, and the client's Idempotency-Key
    name: str
    #: of what is asked
    fingerprint: str

    @classmethod
    def of(cls, owner: str, path: str, key: str, body: Mapping[str, object]) -> "Once":
        """For a request; in which order its body's fields come does not matter."""
        return cls(_sha256([owner, path, key]), _sha256(body))


class Terms(NamedTuple):
    """What a submit is held to."""

    #: jobs of this API key that may wait for one base; None: the store's own rule
    max_waiting: int | None = None
    once: Once | None = None


DEFAULT_TERMS = Terms()


def require_same(once: Once, fingerprint: str) -> None:
    """Refuses a name that was given to a request of another fingerprint.

    Raises: IdempotencyMismatch.
    """
    if once.fingerprint != fingerprint:
        raise IdempotencyMismatch(
            "the Idempotency-Key was used for another body in the last 24 hours; "
            "send that body again, or use another key"
        )


def _sha256(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
