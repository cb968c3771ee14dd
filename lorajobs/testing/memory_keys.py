"""API keys in memory: the same verbs and the same contract suite as those on Redis."""

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence

from lorajobs.api_keys import Allowance, ApiKey

_MINUTE_US = 60_000_000


class MemoryApiKeys:
    """A KeyStore in one process."""

    def __init__(self, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._keys: dict[str, ApiKey] = {}
        #: when each key's bucket is full again, microseconds
        self._full_us: dict[str, int] = {}
        self._root = secrets.token_urlsafe(32)

    def add(self, key: ApiKey) -> bool:
        with self._lock:
            others = [other for other in self._keys.values() if other.id != key.id]
            if any(o.name == key.name and o.revoked_ms is None for o in others):
                return False
            self._keys[key.id] = key
            return True

    def get(self, key_id: str) -> ApiKey | None:
        return self._keys.get(key_id)

    def all(self) -> Sequence[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: (key.created_ms, key.id))

    def update(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        with self._lock:
            key = self._keys.get(key_id)
            if key:
                key = self._keys[key_id] = change(key)
            return key

    def root(self) -> str:
        return self._root

    def spend(self, key_id: str, per_minute: int) -> Allowance:
        with self._lock:
            now_us, cost = 1000 * self._clock_ms(), _MINUTE_US // per_minute
            owed = max(0, self._full_us.get(key_id, 0) - now_us)
            short = owed + cost - _MINUTE_US
            if short > 0:
                return Allowance(per_minute, 0, _seconds(owed), _seconds(short))
            owed += cost
            self._full_us[key_id] = now_us + owed
            return Allowance(per_minute, (_MINUTE_US - owed) // cost, _seconds(owed), 0)


def _seconds(micros: int) -> int:
    return math.ceil(micros / 1_000_000)
