"""The embedded Valkey as `lorajobs up` starts it."""

from pathlib import Path

import redis

from lorajobs.embedded.valkey import EmbeddedValkey
from tests.services.server import running


def test_what_was_queued_survives_kill_and_restart(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    with (
        running(server.argv(), tmp_path, lambda _: server.ready(), deadline_s=20),
        redis.Redis.from_url(server.url) as client,
    ):
        client.rpush("queue", *range(100))
        # The file is written every second; this waits until it was.
        assert client.waitaof(1, 0, 5000) == [1, 0]
    # `running` ended it with SIGKILL.
    with (
        running(server.argv(), tmp_path, lambda _: server.ready(), deadline_s=20),
        redis.Redis.from_url(server.url) as client,
    ):
        assert client.llen("queue") == 100
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
    server.close()
