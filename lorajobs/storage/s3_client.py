"""Connections to S3 as the settings say."""

from functools import cache
from typing import TYPE_CHECKING

import botocore.session
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

from lorajobs.errors import ConfigError
from lorajobs.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

CONNECT_TIMEOUT_S = 5.0


def session_of(settings: Settings) -> Session:
    """The S3 keys of the settings, or else those that boto3 finds by itself.

    Raises: ConfigError naming the setting.
    """
    key, secret = settings.s3_access_key, settings.s3_secret_key
    if (key is None) != (secret is None):
        missing = "SECRET" if secret is None else "ACCESS"
        raise ConfigError(f"LORAJOBS_S3_{missing}_KEY: set both keys or none")
    try:
        core = botocore.session.Session()
        core.register_component("data_loader", _descriptions())
        session = Session(
            botocore_session=core,
            aws_access_key_id=key,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=settings.s3_region,
        )
        found = session.get_credentials()
    except BotoCoreError as error:
        raise ConfigError(f"boto3's own configuration: {error}") from error
    if found is None:
        raise ConfigError(
            "LORAJOBS_S3_ACCESS_KEY: set it with LORAJOBS_S3_SECRET_KEY, or give boto3 credentials"
        )
    return session


@cache
def _descriptions() -> Loader:
    """What botocore knows of S3: sessions that each parse it anew take ten times as long."""
    found: Loader = botocore.session.Session().get_component("data_loader")
    return found


def client_of(session: Session, settings: Settings, endpoint: str) -> "S3Client":
    """A client of the endpoint that the setting of this name holds; safe to share by threads."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if settings.s3_path_style else "virtual"},
        retries={"mode": "standard", "total_max_attempts": settings.s3_retries},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=settings.fetch_timeout_s,
        # Many S3-compatible servers refuse or garble the trailing checksums that boto3 adds.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return session.client("s3", endpoint_url=getattr(settings, endpoint), config=config)
    except (ValueError, BotoCoreError) as error:
        raise ConfigError(f"LORAJOBS_{endpoint.upper()}: {error}") from error
