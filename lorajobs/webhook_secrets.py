"""What signs webhooks: each API key has a secret of its own.

It is derived from a root that leaves the store of keys never, and from how often it was changed.
So whoever has the secret of one key, or that of jobs without a key, knows no other, nor the next.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from lorajobs.api_keys import ApiKey, rotated

_MARK = "whsec_"


class Keys(Protocol):
    """Where keys are kept, see `api_keys.KeyStore`; every verb raises StoreUnavailable."""

    def get(self, key_id: str) -> ApiKey | None:
        """The key of this id, also a revoked one."""

    def root(self) -> str:
        """What the secrets of keys are derived from."""

    def update(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        """Keeps what `change` makes of a key."""


class Secrets(NamedTuple):
    """What signs the webhooks of one owner."""

    current: str
    #: that before the last rotation, while it signs too, and until when
    former: str | None = None
    former_until_ms: int | None = None

    @property
    def all(self) -> Sequence[str]:
        """Those to sign with, the current one first."""
        return (self.current, self.former) if self.former else (self.current,)


class WebhookSecrets:
    """The secrets of all owners."""

    def __init__(
        self,
        keyless: Callable[[], str],
        keys: Keys,
        overlap_s: float,
        clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """`keyless` gives the `whsec_` secret of jobs without a key.

        A former secret signs for `overlap_s` seconds after its rotation.
        """
        self._keyless = keyless
        self._keys = keys
        self._overlap_ms = int(overlap_s * 1000)
        self._clock_ms = clock_ms

    def of(self, owner: str) -> Secrets:
        """The secrets of an API key's id, empty for jobs without a key.

        Raises: StoreUnavailable.
        """
        key = self._keys.get(owner) if owner else None
        if key is None:
            return Secrets(self._keyless())
        root = self._keys.root()
        current = _derived(root, key.id, key.rotations)
        until_ms = self._overlap_of(key)
        if until_ms is None:
            return Secrets(current)
        return Secrets(current, _derived(root, key.id, key.rotations - 1), until_ms)

    def rotate(self, owner: str) -> Secrets:
        """Changes the secret of an API key, unless two sign already: a repetition does no harm.

        Raises: StoreUnavailable.
        """

        def changed(key: ApiKey) -> ApiKey:
            return rotated(key, self._clock_ms()) if self._overlap_of(key) is None else key

        self._keys.update(owner, changed)
        return self.of(owner)

    def _overlap_of(self, key: ApiKey) -> int | None:
        """Until when two secrets sign for the key, Unix milliseconds; None if one does."""
        until_ms = (key.rotated_ms or 0) + self._overlap_ms
        return until_ms if key.rotations and until_ms > self._clock_ms() else None


def new_secret() -> str:
    """A fresh `whsec_` secret of 32 random bytes."""
    return _encoded(secrets.token_bytes(32))


def _derived(root: str, key_id: str, rotations: int) -> str:
    return _encoded(hmac.digest(root.encode(), f"{key_id} {rotations}".encode(), hashlib.sha256))


def _encoded(secret: bytes) -> str:
    # The standard alphabet: some verifiers do not take the one for URLs.
    return _MARK + base64.b64encode(secret).decode()
