"""The errors of who may ask for what, each with a stable code.

LoraJobsError
├── KeyRequired                   401 key_required
├── KeyInvalid                    401 key_invalid
├── ScopeMissing                  403 scope_missing
├── HostRefused                   403 host_refused
├── OriginRefused                 403 origin_refused
├── RateLimited                   429 rate_limited, retryable
├── IdempotencyMismatch           422 idempotency_mismatch
├── KeyTaken                      key_taken (`lorajobs keys create`)
└── KeyNotFound                   key_not_found (`lorajobs keys revoke`)
"""

from lorajobs.errors import LoraJobsError, RequestError


class KeyRequired(LoraJobsError):
    """The request shows no API key, and this API asks for one."""

    code, title, status = "key_required", "An API key is needed", 401


class KeyInvalid(LoraJobsError):
    """The request shows a key that was never made, or was revoked."""

    code, title, status = "key_invalid", "The API key is not valid", 401


class ScopeMissing(LoraJobsError):
    """The key may not do this."""

    code, title, status = "scope_missing", "The API key may not do this", 403


class HostRefused(LoraJobsError):
    """Without a key, a request must name this machine's own address."""

    code, title, status = "host_refused", "Host not allowed", 403


class OriginRefused(LoraJobsError):
    """Without a key, no page of another site may change anything."""

    code, title, status = "origin_refused", "Origin not allowed", 403


class RateLimited(LoraJobsError):
    """The key has used up its requests; `retry_s` seconds until the next."""

    code, title, status, retryable = "rate_limited", "Too many requests", 429, True

    def __init__(self, detail: str, retry_s: int) -> None:
        super().__init__(detail)
        self.retry_s = retry_s


class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used for another body."""

    code, title = "idempotency_mismatch", "The Idempotency-Key belongs to another request"


class KeyTaken(LoraJobsError):
    """A key of this name is in use."""

    code, title = "key_taken", "The name is taken"


class KeyNotFound(LoraJobsError):
    """No key has this id or name."""

    code, title = "key_not_found", "No such key"
