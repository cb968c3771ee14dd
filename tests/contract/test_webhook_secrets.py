"""What signs webhooks, on a real Valkey: every process has the same secrets."""

from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr

from lorajobs.api_keys import Scope, change, create, rotated
from lorajobs.errors import StoreUnavailable
from lorajobs.redis_keys import open_api_keys
from lorajobs.redis_secrets import open_webhook_secrets
from lorajobs.settings import Settings
from lorajobs.webhook_secrets import new_secret


@pytest.fixture
def settings(valkey_url: str) -> Iterator[Settings]:
    with redis.Redis.from_url(valkey_url) as server:
        server.flushdb()
        yield Settings(redis_url=valkey_url, webhook_rotation_s=60)
        server.flushdb()


def test_the_api_and_the_courier_have_the_same(settings: Settings) -> None:
    api, courier = open_webhook_secrets(settings), open_webhook_secrets(settings)
    key, _ = create(open_api_keys(settings), "anna", [Scope.READ])
    before = api.of(key.id)
    assert (courier.of(key.id), courier.of("")) == (before, api.of(""))
    assert before.current != api.of("").current
    change(open_api_keys(settings), "anna", rotated)
    assert api.of(key.id) == courier.of(key.id)
    assert api.of(key.id).former == before.current


def test_the_configured_secret_is_that_of_jobs_without_a_key(settings: Settings) -> None:
    key, _ = create(open_api_keys(settings), "anna", [Scope.READ])
    own = open_webhook_secrets(settings).of(key.id)
    secret = new_secret()
    configured = settings.model_copy(update={"webhook_secret": SecretStr(secret)})
    assert open_webhook_secrets(configured).of("").current == secret
    assert open_webhook_secrets(configured).of(key.id) == own


def test_a_redis_that_is_down_signs_nothing() -> None:
    secrets = open_webhook_secrets(Settings(redis_url="redis://127.0.0.1:1"))
    for owner in ("", "anna"):
        with pytest.raises(StoreUnavailable):
            secrets.of(owner)
