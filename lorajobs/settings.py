"""The settings: read once from the environment into a frozen value."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lorajobs.errors import ConfigError


class Settings(BaseSettings):
    """Every setting; each is the variable `LORAJOBS_<NAME>`, a list is JSON."""

    model_config = SettingsConfigDict(env_prefix="LORAJOBS_", frozen=True, extra="forbid")

    config: Path | None = Field(None, description="`lorajobs.toml`; the bundled demo if unset")
    data_dir: Path = Field(Path("~/.lorajobs"), description="caches, embedded Valkey, local pictures")
    log_level: str = Field("INFO", description="level of every process's log")

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey with all state")
    broker_url: str | None = Field(None, description="Celery broker; `redis_url` if unset")

    api_host: str = Field("127.0.0.1", description="address the API listens on")
    api_port: int = Field(8000, description="port the API listens on")
    api_workers: int = Field(2, description="gunicorn processes")
    api_threads: int = Field(4, description="threads per gunicorn process")
    public_url: str | None = Field(None, description="the API's URL as clients see it")
    max_body_bytes: int = Field(65_536, description="largest request body")

    s3_bucket: str | None = Field(None, description="bucket for pictures; a local folder if unset")
    s3_prefix: str = Field("", description="prefix of every object key")
    s3_endpoint: str | None = Field(None, description="S3 endpoint that the processes use")
    s3_public_endpoint: str | None = Field(None, description="S3 endpoint in the URLs clients see")
    s3_region: str = Field("us-east-1", description="S3 region")
    s3_path_style: bool = Field(True, description="bucket in the path, not in the host name")
    s3_retries: int = Field(5, description="tries of each S3 call")
    s3_access_key: str | None = Field(None, description="S3 key; boto3's own chain if unset")
    s3_secret_key: SecretStr | None = Field(None, description="S3 secret")
    url_ttl_s: int = Field(3600, description="life of a signed picture URL, seconds")
    picture_metadata: bool = Field(True, description="write prompt, seed, adapters into pictures")

    lora_roots: tuple[Path, ...] = Field((), description="folders that a `path` may point into")
    lora_s3: tuple[str, ...] = Field((), description="`bucket/prefix` that an `s3://` may name")
    lora_max_bytes: int = Field(2**31, description="largest adapter file")
    fetch_timeout_s: float = Field(60.0, description="seconds to wait for an adapter's source")
    hf_token: Annotated[SecretStr | None, Field(validation_alias="HF_TOKEN")] = Field(
        None, description="hub token, for configured bases and registered adapters only"
    )
    hf_endpoint: Annotated[str, Field(validation_alias="HF_ENDPOINT")] = Field(
        "https://huggingface.co", description="the hub"
    )

    device: str | None = Field(None, description="torch device; cuda, mps or cpu if unset")
    torch_threads: int = Field(1, description="torch threads of a worker on a CPU")
    max_attempts: int = Field(3, description="attempts before a job fails for good")
    max_runtime_s: float = Field(600.0, description="seconds one attempt may run")
    lease_s: float = Field(6.0, description="seconds after which a silent worker's job is rescued")
    renew_s: float = Field(1.5, description="seconds between renewals of a lease")
    sweep_s: float = Field(0.5, description="seconds between the courier's rounds")
    cancel_grace_s: float = Field(10.0, description="seconds before Flower's terminate kills")

    webhook_secret: SecretStr | None = Field(
        None, description="`whsec_…` that signs webhooks; made and kept in Redis if unset"
    )
    webhook_timeout_s: float = Field(15.0, description="seconds a receiver has to answer")
    webhook_schedule_s: tuple[float, ...] = Field(
        (0, 5, 300, 1800, 7200, 18000, 36000), description="delay before each delivery try, seconds"
    )
    allow_private_urls: bool = Field(
        False, description="let webhooks and adapter URLs reach private addresses and plain http"
    )

    @classmethod
    def from_env(cls) -> "Settings":
        """Reads the environment.

        Raises: ConfigError naming the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = "LORAJOBS_" + "_".join(str(part) for part in first["loc"]).upper()
            raise ConfigError(f"{name}: {first['msg']}") from error
