"""The connection to Redis or Valkey, and the one place where its errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from lorajobs.errors import StoreUnavailable


def connect(url: str) -> redis.Redis:
    """Opens a pool that retries lost replies, so every script must be safe to replay."""
    # from_url's own defaults are no retries at all and a pool of 100 (redis-py 8.1).
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=5,
        socket_connect_timeout=2,
        health_check_interval=25,
        max_connections=50,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), 3),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


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
