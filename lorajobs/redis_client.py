"""The connection to Redis or Valkey, and the one place where its errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from lorajobs.errors import StoreUnavailable


def connect(url: str, *, timeout_s: float = 5, connections: int = 50) -> redis.Redis:
    """Opens a pool that retries lost replies, so every script must be safe to replay.

    Who finds all connections in use waits for one up to `timeout_s` seconds.
    """
    # from_url's own defaults are no retries at all and a pool of 100 (redis-py 8.1).
    pool = redis.BlockingConnectionPool.from_url(
        url,
        decode_responses=True,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=2,
        health_check_interval=25,
        max_connections=connections,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), 3),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )
    return redis.Redis.from_pool(pool)


@contextmanager
def translated() -> Iterator[None]:
    """Turns a failing or refusing Redis into StoreUnavailable."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable(f"Redis does not answer: {error}") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise StoreUnavailable("Redis is full (maxmemory reached)") from error
    except redis.ResponseError as error:
        if str(error).startswith(("OOM", "LOADING", "READONLY", "MISCONF")):
            raise StoreUnavailable(f"Redis refuses writes: {error}") from error
        raise
