"""The API as gunicorn opens it, on a real Valkey and the bundled demo's catalog."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from flask.testing import FlaskClient

from lorajobs.settings import Settings
from web import Deps, create_app


@pytest.fixture
def client(valkey_url: str, tmp_path: Path) -> Iterator[FlaskClient]:
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
        settings = Settings(redis_url=valkey_url, data_dir=tmp_path)
        yield create_app(Deps.open(settings)).test_client()
        server.flushdb()


def test_a_job_goes_into_its_queue_and_comes_out_canceled(
    client: FlaskClient, valkey_url: str
) -> None:
    assert client.get("/readyz").status_code == 200
    answer = client.post("/v1/jobs", json={"model": "pixel", "prompt": "a red heart"})
    assert answer.status_code == 202, answer.text
    job = answer.get_json()
    assert job["input"]["model"] == "demo"
    assert job["input"]["loras"] == [{"id": "pixel", "scale": 1.0}]
    assert (job["queue"]["position"], job["queue"]["reason"]) == (0, "no_worker")
    with redis.Redis.from_url(valkey_url) as server:
        assert server.llen("base.demo") == 1
    (demo,) = client.get("/v1/models").get_json()["models"]
    assert (demo["waiting"], demo["state"]) == (1, "cold")
    answer = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "canceled")
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_pages_join_without_a_gap(client: FlaskClient) -> None:
    body = {"model": "demo", "prompt": "a red heart"}
    ids = {client.post("/v1/jobs", json=body).get_json()["id"] for _ in range(7)}
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = client.get(f"/v1/jobs?limit=3{cursor and f'&cursor={cursor}'}").get_json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert len(seen) == 7
    assert set(seen) == ids


@pytest.mark.parametrize(
    "cursor", ["bml4", "MV8wLXg", "LTUteA", "ICAxLXg", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5LXg"]
)
def test_no_cursor_breaks_the_store(client: FlaskClient, cursor: str) -> None:
    assert client.get(f"/v1/jobs?cursor={cursor}").status_code in (200, 422)


def test_a_registered_adapter_serves_every_process(
    client: FlaskClient, valkey_url: str, tmp_path: Path
) -> None:
    settings = Settings(redis_url=valkey_url, data_dir=tmp_path)
    other = create_app(Deps.open(settings)).test_client()
    first = client.get("/v1/loras/pixel").get_json()
    assert first["sha256"] is None
    client.post("/v1/jobs", json={"model": "pixel", "prompt": "a red heart"})
    assert len(other.get("/v1/loras/pixel").get_json()["sha256"]) == 64
