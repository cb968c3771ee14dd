"""What a Redis or Valkey tells of itself, for the doctor."""

import time
from typing import Any, NamedTuple

from lorajobs.redis_client import connect, translated

#: Pings of which the median is taken.
PINGS = 15


class RedisHealth(NamedTuple):
    """One server as it is now."""

    #: `Valkey 9.1.2`
    name: str
    #: the Redis that it is compatible with
    version: tuple[int, ...]
    role: str
    #: keeps a log of every write
    has_aof: bool
    #: writes snapshots; None if it does not tell
    has_snapshots: bool | None
    #: False if it could not write its data to the disk when it last tried
    writes_well: bool
    #: what it does once it is full
    policy: str
    #: bytes; 0 for no limit
    max_bytes: int
    used_bytes: int
    clients: int
    max_clients: int
    #: median of a round trip, seconds
    latency_s: float
    #: its clock less this machine's, seconds
    ahead_s: float


def look_at(url: str) -> RedisHealth:
    """Asks a server.

    Raises: StoreUnavailable.
    """
    with connect(url, connections=1) as redis, translated():
        told: dict[str, Any] = redis.info()
        took_s = []
        for _ in range(PINGS):
            begun = time.perf_counter()
            redis.ping()
            took_s.append(time.perf_counter() - begun)
        latency_s = sorted(took_s)[PINGS // 2]
        before = time.time()
        seconds, micros = redis.time()
        ahead_s = seconds + micros / 1e6 - (before + time.time()) / 2
    version = str(told.get("redis_version", "0"))
    valkey = told.get("valkey_version")
    return RedisHealth(
        name=f"Valkey {valkey}" if valkey else f"Redis {version}",
        version=tuple(int(part) for part in version.split(".") if part.isdecimal()),
        role=str(told.get("role", "master")),
        has_aof=bool(told.get("aof_enabled")),
        has_snapshots=_has_snapshots(url),
        writes_well="err"
        not in (told.get("aof_last_write_status"), told.get("rdb_last_bgsave_status")),
        policy=str(told.get("maxmemory_policy", "noeviction")),
        max_bytes=int(told.get("maxmemory", 0)),
        used_bytes=int(told.get("used_memory", 0)),
        clients=int(told.get("connected_clients", 0)),
        max_clients=int(told.get("maxclients", 0)),
        latency_s=latency_s,
        ahead_s=ahead_s,
    )


def _has_snapshots(url: str) -> bool | None:
    # Where somebody else runs the server, CONFIG is often forbidden.
    with connect(url, connections=1) as redis:
        try:
            save = redis.config_get("save").get("save")
        except Exception:
            return None
    return None if save is None else bool(save)
