"""Every setting with its type, default and range, in the order in which they are shown."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lorajobs.setting_types import (
    HostOrNetwork,
    HttpUrl,
    Level,
    LogFormat,
    RequireKeys,
    SigningSecret,
)

PREFIX = "LORAJOBS_"


class SettingFields(BaseSettings):
    """The variable `LORAJOBS_<NAME>` each; a list is JSON, an empty one unset."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        populate_by_name=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    config: Path | None = Field(None, description="`lorajobs.toml`; the bundled demo if unset")
    data_dir: Path = Field(
        Path("~/.lorajobs"), description="caches, embedded Valkey, local pictures"
    )
    log_level: Level = Field("INFO", description="level of every process's log")
    log_format: LogFormat = Field(
        "console", description="its lines: `console`, for people, or `json`, an object each"
    )

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey with all state")
    broker_url: str | None = Field(None, description="Celery broker; `redis_url` if unset")

    api_host: str = Field("127.0.0.1", description="address the API listens on")
    api_port: int = Field(8000, ge=1, le=65_535, description="port the API listens on")
    api_workers: int = Field(2, ge=1, description="gunicorn processes")
    api_threads: int = Field(
        4, ge=1, le=1000, description="threads per gunicorn process that no listener takes"
    )
    api_listeners: int = Field(
        256,
        ge=1,
        le=900,
        description="requests per gunicorn process that follow a job live or wait for its end",
    )
    heartbeat_s: float = Field(
        5.0, gt=0, le=30, description="seconds between signs of life to those who follow a job"
    )
    sync_wait_s: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="seconds that a request of another API's client waits for its pictures",
    )
    public_url: HttpUrl | None = Field(None, description="the API's URL as clients see it")
    api_url: HttpUrl = Field(
        "http://127.0.0.1:8000", description="the API that submit, status and cancel talk to"
    )
    api_key: SecretStr | None = Field(None, description="the API key that they show")
    require_keys: RequireKeys = Field(
        "auto",
        description="`auto`: whoever asks needs an API key, except on this machine until the first "
        "is made; `always`, or `never`",
    )
    rate_per_minute: int = Field(
        3000, ge=1, le=1_000_000, description="requests per minute of one API key"
    )
    max_body_bytes: int = Field(65_536, ge=1, description="largest request body")
    image_max_bytes: int = Field(
        16_777_216, ge=1, description="largest picture to start from, as a file"
    )
    image_max_pixels: int = Field(
        25_000_000, ge=1, le=89_000_000, description="the same, width × height"
    )
    image_ttl_s: int = Field(
        86_400, ge=60, le=2_592_000, description="seconds that an uploaded picture is kept"
    )

    s3_bucket: str | None = Field(None, description="bucket for pictures; a local folder if unset")
    s3_prefix: str = Field("", description="prefix of every object key")
    s3_endpoint: str | None = Field(None, description="S3 endpoint that the processes use")
    s3_public_endpoint: str | None = Field(None, description="S3 endpoint in the URLs clients see")
    s3_region: str = Field("us-east-1", description="S3 region")
    s3_path_style: bool = Field(True, description="bucket in the path, not in the host name")
    s3_retries: int = Field(5, ge=1, description="tries of each S3 call")
    s3_access_key: str | None = Field(None, description="S3 key; boto3's own chain if unset")
    s3_secret_key: SecretStr | None = Field(None, description="S3 secret")
    url_ttl_s: int = Field(
        3600, ge=1, le=604_800, description="life of a signed picture URL, seconds; at most a week"
    )
    picture_metadata: bool = Field(True, description="write prompt, seed, adapters into pictures")

    lora_roots: tuple[Path, ...] = Field((), description="folders that a `path` may point into")
    lora_s3: tuple[str, ...] = Field((), description="`bucket/prefix` that an `s3://` may name")
    lora_max_bytes: int = Field(2**31, ge=1, description="largest adapter file")
    upload_ttl_s: int = Field(
        3600,
        ge=1,
        le=604_800,
        description="life of a signed URL that an adapter's file is sent to, seconds",
    )
    disk_cache_gb: float = Field(
        50.0, ge=0, le=1e6, description="10⁹ bytes of adapters kept on each machine; 0 keeps all"
    )
    fetch_timeout_s: float = Field(
        60.0, gt=0, description="seconds to wait for an adapter's source"
    )
    hf_token: Annotated[SecretStr | None, Field(validation_alias="HF_TOKEN")] = Field(
        None, description="hub token, for configured bases and registered adapters only"
    )
    hf_endpoint: Annotated[HttpUrl, Field(validation_alias="HF_ENDPOINT")] = Field(
        "https://huggingface.co", description="the hub"
    )
    hf_cache: Path | None = Field(
        None, description="folder of base models from the hub; the hub library's own if unset"
    )

    device: str | None = Field(None, description="torch device; cuda, mps or cpu if unset")
    cuda_visible_devices: Annotated[str | None, Field(validation_alias="CUDA_VISIBLE_DEVICES")] = (
        Field(None, description="the GPUs that there are; all if unset")
    )
    torch_threads: int = Field(1, ge=1, description="torch threads of a worker on a CPU")
    host_cache_mb: int = Field(
        2048,
        ge=0,
        le=1_048_576,
        description="MiB of host memory for adapters kept ready, pinned at the start on a GPU; "
        "workers of one `--gpus` divide it",
    )
    graph_memory_mb: int = Field(
        4096,
        ge=0,
        le=1_048_576,
        description="MiB of GPU memory for recorded steps, of each base; those not used for "
        "longest go first",
    )
    parked_mb: int = Field(
        16_384,
        ge=0,
        le=1_048_576,
        description="MiB of host memory for the bases of a worker that serves several, or that "
        "frees its GPU when idle: from there one is back in a moment; those not used for longest "
        "are loaded again, 0: all; workers of one `--gpus` divide it",
    )
    unload_idle_s: float = Field(
        0.0,
        ge=0,
        le=604_800,
        description="seconds without a job after which a worker frees its GPU, until the next "
        "job brings the base back; 0: never",
    )
    canary_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="seconds between looks of an idle worker at its base's weights; 0: never",
    )
    max_attempts: int = Field(3, ge=1, description="attempts before a job fails for good")
    max_waiting: int = Field(10_000, ge=1, description="jobs that may wait for one base model")
    max_waiting_per_key: int = Field(1000, ge=1, description="of these, jobs of one API key")
    head_start_s: float = Field(
        60.0, ge=0, description="seconds that priority `high` counts as earlier, `low` as later"
    )
    retention_s: float = Field(
        604_800.0, ge=1, description="seconds that an ended job and its pictures are kept"
    )
    max_runtime_s: float = Field(600.0, gt=0, description="seconds one attempt may run")
    step_timeout_s: float = Field(
        120.0,
        gt=0,
        description="seconds without a step, after which a worker's child is taken for hung",
    )
    finish_depth: int = Field(
        2,
        ge=1,
        le=16,
        description="jobs whose pictures a worker may encode and upload beside the next job",
    )
    lease_s: float = Field(
        6.0, gt=0, description="seconds after which a silent worker's job is rescued"
    )
    renew_s: float = Field(
        1.5, gt=0, description="seconds between renewals of a lease, less than half of it"
    )
    sweep_s: float = Field(0.5, gt=0, description="seconds between the courier's rounds")
    cancel_grace_s: float = Field(10.0, ge=0, description="seconds before Flower's terminate kills")

    shutdown_grace_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="seconds a running job has to end when its worker is stopped, or it goes back",
    )

    flower_host: str = Field("127.0.0.1", description="address Flower listens on")
    flower_port: int = Field(5555, ge=1, le=65_535, description="port Flower listens on")
    flower_auth: SecretStr | None = Field(
        None, description="`user:password` for Flower; needed beyond this machine and by its API"
    )

    flower_url: HttpUrl | None = Field(
        None, description="Flower's URL as operators see it; the page `/ops` links it"
    )

    metrics_host: str = Field("127.0.0.1", description="address metrics are served at")
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_535,
        description="port of a worker's or courier's metrics; none if unset",
    )

    prompt_checker: str | None = Field(
        None,
        description="who may refuse a prompt: `words` or an installed checker; nobody if unset",
    )
    prompt_words: Path | None = Field(
        None, description="file of words and phrases that `words` refuses, one a line"
    )
    image_checker: str | None = Field(
        None,
        description="who may withhold a picture: `diffusers`, or an installed checker; nobody if "
        "unset, but for a base with its own",
    )
    safety_checker: str = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        min_length=1,
        description="where `diffusers` has its model: a folder or a hub repository `owner/name`",
    )

    webhook_secret: SigningSecret | None = Field(
        None,
        description="`whsec_…` that signs webhooks of jobs without an API key; made and kept in "
        "Redis if unset",
    )
    webhook_rotation_s: float = Field(
        86_400.0,
        ge=0,
        le=31_536_000,
        description="seconds for which an API key's former secret signs its webhooks too",
    )
    webhook_timeout_s: float = Field(15.0, gt=0, description="seconds a receiver has to answer")
    webhook_retry_s: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (5, 300, 1800, 7200, 18000, 36000),
        description="delay before each retry of a webhook, seconds",
    )
    webhook_per_host: int = Field(
        4, ge=1, le=1000, description="webhooks that one receiver is sent at a time"
    )
    webhook_private: tuple[HostOrNetwork, ...] = Field(
        (), description="hosts and networks inside that webhooks reach, at any port, also by http"
    )
    fetch_private: tuple[HostOrNetwork, ...] = Field(
        (), description="the same for URLs that a request names, as of adapters"
    )
    fetch_hosts: tuple[HostOrNetwork, ...] = Field(
        (), description="the only hosts of such URLs, `*.` before a domain allowed; any if empty"
    )
    url_ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = Field(
        (443, 8443), description="ports at which webhooks and such URLs reach the internet"
    )
    url_http: bool = Field(False, description="plain http on port 80 of the internet too")

    @field_validator("renew_s")
    @classmethod
    def _in_time(cls, renew_s: float, info: ValidationInfo) -> float:
        """One renewal may come late or get lost."""
        lease_s = info.data.get("lease_s", float("inf"))
        if renew_s >= lease_s / 2:
            raise ValueError(f"must be less than half of {PREFIX}LEASE_S, which is {lease_s:g}")
        return renew_s

    @field_validator("disk_cache_gb")
    @classmethod
    def _holds_the_largest(cls, disk_cache_gb: float, info: ValidationInfo) -> float:
        """No adapter is accepted that a worker has no room for."""
        largest = info.data.get("lora_max_bytes", 0)
        if disk_cache_gb and disk_cache_gb * 1e9 < largest:
            raise ValueError(f"must hold {PREFIX}LORA_MAX_BYTES, which is {largest}; lower that")
        return disk_cache_gb
