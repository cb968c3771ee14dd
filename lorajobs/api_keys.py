"""API keys: what a client shows, what is kept of it, and what it may do."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from lorajobs.access_errors import KeyNotFound, KeyTaken
from lorajobs.spec import Frozen, Visibility, Webhook

_MARK = "lj"
#: Seconds for which a process remembers a key: a revoked one is good no longer.
KEPT_S = 1.0


class Scope(StrEnum):
    """What a key may do."""

    #: submit, cancel and erase jobs, register adapters
    SUBMIT = "submit"
    #: look at jobs, pictures, adapters and usage
    READ = "read"
    #: all of that, with the jobs and adapters of every key
    ADMIN = "admin"


class ApiKey(Frozen):
    """What is kept of a key: the secret is not."""

    #: public; the owner of what the key makes
    id: str
    name: str
    scopes: tuple[Scope, ...]
    #: SHA-256 of the secret, which is random and long: a slow hash would protect nothing more
    digest: str
    created_ms: int
    #: jobs that may wait for one base; None: `max_waiting_per_key`
    max_waiting: int | None = None
    #: requests per minute; None: `rate_per_minute`
    rate: int | None = None
    revoked_ms: int | None = None
    #: where its jobs are announced that name no webhook of their own
    webhook: Webhook | None = None
    #: how often the secret of its webhooks was changed, and when last, see `webhook_secrets.py`
    rotations: int = 0
    rotated_ms: int | None = None

    def may(self, scope: Scope) -> bool:
        """True if the key has the scope, or is an admin's."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class Caller(NamedTuple):
    """Who asks: the id of an API key, empty without one."""

    owner: str = ""
    #: True for an admin, and where no key was ever made
    sees_all: bool = False

    @property
    def default_visibility(self) -> Visibility:
        """Whom an adapter of theirs is there for, if they do not say."""
        return "private" if self.owner else "public"

    def may_see(self, owner: str) -> bool:
        """True if what belongs to this owner is there for the caller."""
        return self.sees_all or owner == self.owner


NOBODY = Caller()
OPERATOR = Caller(sees_all=True)


class Allowance(NamedTuple):
    """What is left to a key of its requests per minute."""

    limit: int
    remaining: int
    #: seconds until all are there again
    reset_s: int
    #: seconds until one is, 0 if this request was allowed
    retry_s: int


class KeyStore(Protocol):
    """Where keys are kept; every verb raises StoreUnavailable."""

    def add(self, key: ApiKey) -> bool:
        """Keeps a new key; False if one that is not revoked has its name."""

    def get(self, key_id: str) -> ApiKey | None:
        """The key of this id, also a revoked one."""

    def all(self) -> Sequence[ApiKey]:
        """Every key that was ever made, oldest first."""

    def update(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        """Keeps what `change` makes of a key, called again if another changes it meanwhile.

        Returns the key as it is then, None if there is none.
        """

    def root(self) -> str:
        """What the secrets of the keys' webhooks are made of, random and the same ever after."""

    def spend(self, key_id: str, per_minute: int) -> Allowance:
        """Counts one request, unless none is left."""


def create(
    store: KeyStore,
    name: str,
    scopes: Sequence[Scope],
    *,
    max_waiting: int | None = None,
    rate: int | None = None,
    webhook: Webhook | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key; the second is what its client shows, told only here.

    Raises: KeyTaken, StoreUnavailable.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(
        id=key_id,
        name=name,
        scopes=tuple(dict.fromkeys(scopes)),
        digest=_digest(secret),
        created_ms=_now_ms(),
        max_waiting=max_waiting,
        rate=rate,
        webhook=webhook,
    )
    if not store.add(key):
        raise KeyTaken(f"a key is called {name!r} already; revoke it or choose another name")
    return key, f"{_MARK}_{key_id}_{secret}"


def revoke(store: KeyStore, named: str) -> ApiKey:
    """Ends the key of this id, or else of this name, for good.

    Raises: KeyNotFound, StoreUnavailable.
    """
    return change(store, named, lambda key: key.model_copy(update={"revoked_ms": _now_ms()}))


def change(store: KeyStore, named: str, changed: Callable[[ApiKey], ApiKey]) -> ApiKey:
    """Changes the key in use of this id, or else of this name; returns it as it is then.

    Raises: KeyNotFound, StoreUnavailable.
    """

    def of_one_in_use(key: ApiKey) -> ApiKey:
        return key if key.revoked_ms else changed(key)

    old = key_named(store, named)
    return store.update(old.id, of_one_in_use) or old


def key_named(store: KeyStore, named: str) -> ApiKey:
    """The key in use of this id, or else of this name.

    Raises: KeyNotFound, StoreUnavailable.
    """
    live = [key for key in store.all() if key.revoked_ms is None]
    found = [key for key in live if key.id == named] or [key for key in live if key.name == named]
    if not found:
        names = ", ".join(key.name for key in live) or "none"
        raise KeyNotFound(f"no key has the id or name {named!r}; in use are: {names}")
    return found[0]


def rotated(key: ApiKey, now_ms: int | None = None) -> ApiKey:
    """The key with another secret for its webhooks; the former one signs too for some time."""
    at_ms = _now_ms() if now_ms is None else now_ms
    return key.model_copy(update={"rotations": key.rotations + 1, "rotated_ms": at_ms})


class KeyRing:
    """The keys as a process remembers them for `kept_s` seconds, for it asks at every request."""

    def __init__(
        self,
        store: KeyStore,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._kept_s = kept_s
        self._clock = clock
        self._keys: dict[str, tuple[float, ApiKey]] = {}
        self._empty: tuple[float, bool] | None = None

    def find(self, shown: str) -> ApiKey | None:
        """The key whose secret this is, unless it was revoked.

        Raises: StoreUnavailable.
        """
        mark, _, rest = shown.partition("_")
        key_id, _, secret = rest.partition("_")
        if mark != _MARK or not secret:
            return None
        key = self._get(key_id)
        if key is None or not hmac.compare_digest(key.digest, _digest(secret)):
            return None
        return key if key.revoked_ms is None else None

    def is_empty(self) -> bool:
        """True if no key was ever made: revoking the last one opens nothing.

        Raises: StoreUnavailable.
        """
        seen = self._empty
        if seen is None or (seen[1] and self._is_old(seen[0])):
            seen = self._empty = self._clock(), not self._store.all()
        return seen[1]

    def spend(self, key: ApiKey, per_minute: int) -> Allowance:
        """Counts one request of the key against its own rate, or else this one.

        Raises: StoreUnavailable.
        """
        return self._store.spend(key.id, per_minute if key.rate is None else key.rate)

    def _get(self, key_id: str) -> ApiKey | None:
        # Two threads may both ask; neither is harmed.
        seen = self._keys.get(key_id)
        if seen and not self._is_old(seen[0]):
            return seen[1]
        key = self._store.get(key_id)
        if key:
            self._keys[key_id] = self._clock(), key
        else:
            self._keys.pop(key_id, None)
        return key

    def _is_old(self, since: float) -> bool:
        return self._clock() - since >= self._kept_s


def _now_ms() -> int:
    return int(time.time() * 1000)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
