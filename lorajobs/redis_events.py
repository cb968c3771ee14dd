"""The events of jobs on Redis: the streams that the scripts write, read with a wait."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from lorajobs.events import Event
from lorajobs.redis_client import connect, translated
from lorajobs.redis_notices import PREFIX
from lorajobs.settings import Settings

#: Seconds that one read waits at most; the connection must bear more.
LONGEST_BLOCK_S = 30.0
_NUMBERS = frozenset({"attempt", "step", "steps"})


class RedisEvents:
    """An EventLog beside RedisJobStore, on the same keys.

    A read that waits holds its connection, so `client` should be nobody else's, and must bear a
    silence of LONGEST_BLOCK_S.
    """

    def __init__(self, client: redis.Redis, prefix: str = PREFIX) -> None:
        # redis-py types each reply as str | bytes | awaitable; ours are str (decode_responses).
        self._redis: Any = client
        self._prefix = prefix

    def events(self, job_id: str, after: str, block_s: float) -> Sequence[Event]:
        key = f"{self._prefix}:events:{job_id}"
        # To Redis, 0 means to wait for ever.
        block_ms = int(1000 * min(block_s, LONGEST_BLOCK_S)) or None
        with translated():
            found = self._redis.xread({key: after or "0"}, block=block_ms)
        return [_event(*row) for _, rows in found for row in rows]


def _event(event_id: str, row: Mapping[str, str]) -> Event:
    fields = {k: int(v) if k in _NUMBERS else v for k, v in row.items() if k != "event"}
    return Event(event_id, row["event"], fields)


def open_events(settings: Settings) -> RedisEvents:
    """The events of the store that the settings name; opens no connection yet."""
    listening = connect(
        settings.redis_url, timeout_s=LONGEST_BLOCK_S + 5, connections=settings.api_listeners
    )
    return RedisEvents(listening)
