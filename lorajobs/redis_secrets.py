"""The secrets that sign webhooks, as the settings and this Redis have them."""

from collections.abc import Callable
from functools import cache

from lorajobs.redis_keys import open_api_keys
from lorajobs.redis_store import open_job_store
from lorajobs.settings import Settings
from lorajobs.webhook_secrets import WebhookSecrets, new_secret


def open_webhook_secrets(settings: Settings) -> WebhookSecrets:
    """The secrets of all owners; opens no connection yet."""
    return WebhookSecrets(_keyless(settings), open_api_keys(settings), settings.webhook_rotation_s)


def _keyless(settings: Settings) -> Callable[[], str]:
    if settings.webhook_secret is not None:
        return settings.webhook_secret.get_secret_value
    store = open_job_store(settings)
    return cache(lambda: store.secret(new_secret()))
