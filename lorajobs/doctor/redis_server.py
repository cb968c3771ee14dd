"""Redis or Valkey, which holds all state."""

from collections.abc import Iterator

from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_health import RedisHealth, look_at
from lorajobs.setting_text import masked
from lorajobs.settings import Settings

#: Scripts say in their first line what they do on a full server, which older ones do not know.
OLDEST = (7, 0)
#: Seconds of a round trip from which each claim and submit feels it.
SLOW_S = 0.005
#: Seconds by which the clocks may differ.
SKEW_S = 2.0
#: The share of memory or of connections from which it is nearly full.
FULL = 0.9


def server(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, and would keep what it is given."""
    url = masked(settings.redis_url)
    try:
        health = look_at(settings.redis_url)
    except StoreUnavailable as error:
        way_out = (
            f"start it, or name it in LORAJOBS_REDIS_URL (now {url}); the one of `lorajobs up` "
            "needs the `export` lines that it printed"
        )
        yield wrong(error.detail, way_out)
        return
    yield from findings(health, url)


def findings(health: RedisHealth, url: str) -> Iterator[Finding]:
    """What is to be said of a server that tells this of itself."""
    told = f"{health.name} at {url}, a round trip {1000 * health.latency_s:.2f} ms"
    if health.version < OLDEST:
        yield wrong(told, f"it needs Redis {OLDEST[0]}.{OLDEST[1]} or newer, or any Valkey")
    elif health.role not in ("master", "primary"):
        yield wrong(f"{told}: a replica, it takes no writes", "name the primary server")
    elif health.latency_s > SLOW_S:
        yield warning(f"{told}: each submit and claim waits for it", "put it nearer")
    else:
        yield ok(told)
    yield from _persistence(health)
    yield from _room(health)
    yield from _clock(health)


def _persistence(health: RedisHealth) -> Iterator[Finding]:
    if not health.writes_well:
        yield wrong("it could not write its data to its disk", "look at its log and its disk")
    elif health.has_aof:
        yield ok("it writes a log of every change (AOF)")
    elif health.has_snapshots is False:
        text = "it keeps nothing on a disk: a restart loses every job"
        yield warning(text, "start it with `appendonly yes`")
    else:
        text = "it keeps snapshots at most, no log: a crash loses the jobs of the last minutes"
        yield warning(text, "start it with `appendonly yes`")


def _room(health: RedisHealth) -> Iterator[Finding]:
    limit = f"of {health.max_bytes / 1e6:,.0f} MB" if health.max_bytes else "without a limit"
    told = f"{health.used_bytes / 1e6:,.1f} MB {limit}, maxmemory-policy {health.policy}"
    if health.policy != "noeviction":
        text = f"{told}: once it is full it drops jobs without a word"
        yield wrong(text, "`maxmemory-policy noeviction`")
    elif health.max_bytes and health.used_bytes > FULL * health.max_bytes:
        yield warning(f"{told}: nearly full", "raise maxmemory, or lower LORAJOBS_RETENTION_S")
    else:
        yield ok(told)
    if health.max_clients and health.clients > FULL * health.max_clients:
        text = f"{health.clients} of {health.max_clients} connections are taken"
        yield warning(text, "raise maxclients; each listener of the API takes one")


def _clock(health: RedisHealth) -> Iterator[Finding]:
    if abs(health.ahead_s) > SKEW_S:
        behind = "behind" if health.ahead_s > 0 else "ahead of"
        text = f"this machine's clock is {abs(health.ahead_s):,.1f} s {behind} the server's"
        yield warning(text, "set both by NTP: signed URLs and webhooks carry this machine's time")
    else:
        yield ok("this machine's clock agrees with it")
