"""An adapter sent to a real S3 by its signed URL, registered by an API on a real Valkey."""

import hashlib
import secrets
from pathlib import Path

import httpx
import redis

from lorajobs.adapters.awaited import key_of
from lorajobs.settings import Settings
from tests.lora_files import DEMO_LORAS, fetched
from tests.services.weed import S3Server
from web import Deps, create_app


def test_a_file_that_was_sent_to_s3_serves_jobs(
    valkey_url: str, s3: S3Server, tmp_path: Path
) -> None:
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
    prefix = secrets.token_hex(4)
    settings = Settings(redis_url=valkey_url, data_dir=tmp_path, s3_prefix=prefix, **s3.settings)
    deps = Deps.open(settings)
    client = create_app(deps).test_client()
    data = next(DEMO_LORAS.rglob("*.safetensors")).read_bytes()
    upload = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    begun = client.post("/v1/loras", json={"id": "mine", "base": "demo", "upload": upload})
    assert begun.status_code == 201, begun.text
    signed = begun.get_json()["upload"]
    assert signed["url"].startswith(s3.endpoint)
    assert client.post("/v1/loras/mine/complete").status_code == 409
    sent = httpx.put(signed["url"], headers=signed["headers"], content=data, trust_env=False)
    assert sent.status_code == 200, sent.text
    job = {"model": "mine", "prompt": "a red heart"}
    assert client.post("/v1/jobs", json=job).get_json()["code"] == "lora_not_ready"
    ready = client.post("/v1/loras/mine/complete")
    assert ready.status_code == 200, ready.text
    assert ready.get_json()["sha256"] == upload["sha256"]
    accepted = client.post("/v1/jobs", json=job)
    assert accepted.status_code == 202, accepted.text
    (use,) = deps.store.get(accepted.get_json()["id"]).spec.loras
    assert fetched(deps.library, use.adapter) == data
    assert not deps.objects.exists(key_of("mine"))
