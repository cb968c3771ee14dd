"""The doctor on a real Valkey and a real S3, good ones and such as something is wrong with."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from lorajobs.cli import main
from lorajobs.doctor import broker, gpu, object_store, processes, redis_server
from lorajobs.doctor.finding import Finding, State
from lorajobs.redis_store import open_job_store
from lorajobs.settings import Settings
from tests.jobs import a_job
from tests.services.receiver import receiver
from tests.services.server import HOST, free_ports
from tests.services.weed import S3Server


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> Iterator[Settings]:
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
        (port,) = free_ports(1)
        url = f"http://{HOST}:{port}"
        yield Settings(redis_url=valkey_url, data_dir=tmp_path, api_url=url, public_url=url)
        server.flushdb()


def states(found: Sequence[Finding]) -> list[str]:
    return [finding.state.value for finding in found]


def with_s3(s3: S3Server, **changes: Any) -> Settings:
    return Settings(**{**s3.settings, "s3_prefix": "of-the-doctor", **changes})


def test_a_real_valkey(settings: Settings) -> None:
    found = list(redis_server.server(settings))
    assert "Valkey" in found[0].text
    assert states(found) == ["ok", "warning", "ok", "ok"]
    assert "loses every job" in found[1].text
    with redis.Redis.from_url(settings.redis_url) as server:
        server.config_set("maxmemory-policy", "allkeys-lru")
        try:
            worse = list(redis_server.server(settings))
        finally:
            server.config_set("maxmemory-policy", "noeviction")
    assert states(worse) == ["ok", "warning", "wrong", "ok"]


def test_no_redis_and_no_broker() -> None:
    (port,) = free_ports(1)
    nowhere = Settings(redis_url=f"redis://:secret@{HOST}:{port}/0")
    for found in (list(redis_server.server(nowhere)), list(broker.broker(nowhere))):
        (finding,) = found
        assert finding.state is State.WRONG
        assert str(port) in finding.text + finding.way_out
        assert "secret" not in finding.text + finding.way_out


def test_jobs_that_nobody_takes(settings: Settings) -> None:
    (idle,) = processes.workers(settings)
    assert idle.state is State.WARNING
    open_job_store(settings).submit(a_job(), None)
    (waiting,) = processes.workers(settings)
    assert waiting.state is State.WRONG
    assert "1 jobs wait" in waiting.text
    assert "lorajobs worker --model demo" in waiting.way_out
    answers, short = broker.broker(settings)
    assert states([answers, short]) == ["ok", "warning"]
    assert "demo: fewer tickets" in short.text


def test_no_courier_and_no_api(settings: Settings) -> None:
    (courier,) = processes.courier(settings)
    (api,) = processes.api(settings)
    assert states([courier, api]) == ["wrong", "wrong"]
    assert "lorajobs courier" in courier.way_out
    assert settings.api_url in api.text


def test_a_good_bucket_is_as_it_was(s3: S3Server) -> None:
    found = list(object_store.objects(with_s3(s3)))
    assert states(found) == ["ok", "ok", "warning"]
    assert "only programs on this machine" in found[2].text
    assert "LORAJOBS_S3_PUBLIC_ENDPOINT" in found[2].way_out
    with closing(s3.client()) as client:
        left = client.list_objects_v2(Bucket=s3.bucket, Prefix="of-the-doctor")
    assert left.get("KeyCount") == 0


@pytest.mark.parametrize(
    ("changes", "said", "way_out"),
    [
        ({"s3_bucket": "no-such-bucket-of-ours"}, "NoSuchBucket", "make the bucket"),
        ({"s3_secret_key": "wrong"}, "SignatureDoesNotMatch", "LORAJOBS_S3_SECRET_KEY"),
        ({"s3_access_key": "wrong"}, "InvalidAccessKeyId", "LORAJOBS_S3_ACCESS_KEY"),
    ],
)
def test_a_bucket_that_refuses(
    s3: S3Server, changes: dict[str, str], said: str, way_out: str
) -> None:
    found = list(object_store.objects(with_s3(s3, **changes)))
    assert found[0].state is State.WRONG
    assert said in found[0].text
    assert way_out in found[0].way_out


def test_an_endpoint_where_nobody_is(s3: S3Server) -> None:
    (port,) = free_ports(1)
    (found,) = object_store.objects(with_s3(s3, s3_endpoint=f"http://{HOST}:{port}"))
    assert "EndpointConnectionError" in found.text
    assert "LORAJOBS_S3_ENDPOINT" in found.way_out


def test_a_public_endpoint_that_leads_elsewhere(s3: S3Server) -> None:
    (port,) = free_ports(1)
    nowhere = list(object_store.objects(with_s3(s3, s3_public_endpoint=f"http://{HOST}:{port}")))
    assert states(nowhere) == ["ok", "wrong"]
    assert f"http://{HOST}:{port}" in nowhere[1].text
    with receiver() as other:
        found = list(object_store.objects(with_s3(s3, s3_public_endpoint=other.url)))
    assert found[1].state is State.WRONG
    assert "LORAJOBS_S3_PUBLIC_ENDPOINT" in found[1].way_out


def test_a_folder_served_by_no_api(settings: Settings) -> None:
    kept, url = object_store.objects(settings)
    assert states([kept, url]) == ["ok", "wrong"]
    assert "start the API" in url.way_out
    # `up --port` tells other terminals of its API's URL alone.
    _, url = object_store.objects(settings.model_copy(update={"public_url": None}))
    assert settings.api_url in url.text
    assert [path.name for path in settings.data_dir.rglob("*") if "doctor" in path.name] == []


def test_the_command_tells_what_is_asked_for_and_fails(settings: Settings) -> None:
    environment = {"LORAJOBS_REDIS_URL": settings.redis_url, "LORAJOBS_API_URL": settings.api_url}

    def doctor(*words: str) -> Result:
        return CliRunner().invoke(main, ["doctor", *words], env=environment)

    result = doctor("redis", "api", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (1, False)
    seen = [(line["check"], line["state"]) for line in told["findings"]]
    assert seen[0] == ("redis", "ok")
    assert seen[-1] == ("api", "wrong")
    assert all(line["way_out"] for line in told["findings"] if line["state"] != "ok")
    good = doctor("redis")
    assert good.exit_code == 0
    assert "→ start it with `appendonly yes`" in good.output
    unknown = doctor("rediss")
    assert unknown.exit_code == 2
    assert "'packages'" in unknown.output


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    report: dict[str, Any] = {
        "torch": "2.13.0",
        "cuda": None,
        "mps": False,
        "triton": None,
        "gpus": [],
    }
    asked = gpu.judged(Settings(device="cuda"), report, "")
    assert states(asked) == ["wrong"]
    driven = gpu.judged(Settings(), report, "575.51")
    assert "with CUDA" in driven[0].way_out
    broken = {"name": "H200", "computes": False, "error": "CUDA error: unknown", "free": 0}
    (dead, triton) = gpu.judged(Settings(), report | {"gpus": [broken]}, "575.51")
    assert dead.state is State.WRONG
    assert "CUDA error: unknown" in dead.text
    assert triton.state is State.WARNING
