"""What a client may send: the bodies of the API as strict models."""

from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lorajobs.body import Body
from lorajobs.field_errors import ALLOWED
from lorajobs.spec import OnLoraError, Priority, Visibility, WebhookEvent, WebhookShape

MAX_LORAS = 4
MIN_SCALE, MAX_SCALE = -5.0, 5.0
#: Image i uses seed + i, and every seed must survive JSON readers that know only doubles.
MAX_SEED = 2**53 - 8
#: Seconds that a request may wait for the end of its job.
MAX_WAIT_S = 60

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
URL_MAX = 2048


class LoraRequest(Body):
    """One adapter of a job."""

    id: str | None = Field(
        None, min_length=1, max_length=128, description="the id of a registered adapter"
    )
    path: str | None = Field(
        None,
        min_length=1,
        max_length=URL_MAX,
        description="a reference such as `hf:owner/name`, `s3://bucket/key` or `https://…`",
    )
    scale: float | None = Field(
        None, ge=MIN_SCALE, le=MAX_SCALE, description="a number from -5 to 5"
    )
    weight_name: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="the name of one `.safetensors` file of `path`, at most 255 characters",
    )

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if (self.id is None) == (self.path is None):
            raise PydanticCustomError(ALLOWED, "give either `id` or `path`")
        if self.id is not None and self.weight_name is not None:
            raise PydanticCustomError(
                ALLOWED, "give `weight_name` only with `path`: an `id` names its file already"
            )
        return self


class OutputRequest(Body):
    """How the pictures are to be encoded."""

    format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description="`png`, `jpeg` or `webp`"
    )
    quality: int | None = Field(None, ge=1, le=100, description="an integer from 1 to 100")


class WebhookRequest(Body):
    """Where the job is to be announced, and which of its events."""

    url: str = Field(
        max_length=URL_MAX, description=f"an http(s) URL of at most {URL_MAX} characters"
    )
    events: tuple[WebhookEvent, ...] | None = Field(
        None,
        min_length=1,
        max_length=len(get_args(WebhookEvent)),
        description="an array of " + ", ".join(f"`{name}`" for name in get_args(WebhookEvent)),
    )
    shape: WebhookShape | None = Field(
        None, description="`job`, or `prediction` for a body such as Replicate sends"
    )

    @field_validator("url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        problem = url_problem(url)
        if problem:
            raise PydanticCustomError(ALLOWED, "{problem}", {"problem": problem})
        return url


def url_problem(url: str) -> str | None:
    """What keeps this text from being an absolute http(s) URL without credentials, or None.

    Only the syntax is read: nothing is resolved.
    """
    if not url.isascii() or any(c <= " " or c in '<>"\\^`{|}\x7f' for c in url):
        return "the URL has characters that must be percent-encoded (or a host that needs punycode)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme not in ("http", "https"):
        return "the URL must begin with https://"
    if not parts.hostname or port == 0:
        return "the URL names no host" if not parts.hostname else "port 0 cannot be reached"
    if "@" in parts.netloc:
        return "the URL must not carry a user name or password"
    if parts.fragment:
        return "the URL must not carry a fragment (#…)"
    return None


MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class Subject(Body):
    """What is to be made, and of which model."""

    model: str = Field(
        min_length=1, max_length=128, description="the id of a base model or of an adapter"
    )
    prompt: str = Field(max_length=10_000, description="a string of at most 10,000 characters")


class Recipe(Body):
    """What pictures are made with beside the prompt, in the same words on every surface."""

    negative_prompt: str | None = Field(
        None, max_length=10_000, description="a string of at most 10,000 characters"
    )
    width: int | None = Field(None, ge=1, description="a positive integer, in pixels")
    height: int | None = Field(None, ge=1, description="a positive integer, in pixels")
    num_inference_steps: int | None = Field(None, ge=1, description="a positive integer")
    guidance_scale: float | None = Field(None, ge=0, description="a number not below 0")
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description=f"an integer from 0 to {MAX_SEED}"
    )
    scheduler: str | None = Field(
        None, min_length=1, max_length=128, description="the name of a diffusers scheduler"
    )
    loras: tuple[LoraRequest, ...] | None = Field(
        None,
        max_length=MAX_LORAS,
        description=f"an array of at most {MAX_LORAS} objects `{{id | path, scale, weight_name}}`",
    )
    image: str | None = Field(
        None,
        min_length=1,
        max_length=URL_MAX,
        description="an https URL of a PNG, JPEG or WebP, or the `id` that `POST /v1/images` gave",
    )
    strength: float | None = Field(
        None, gt=0, le=1, description="a number above 0 and at most 1, with `image` only"
    )
    on_lora_error: OnLoraError | None = Field(None, description="`fail` or `skip`")


class JobRequest(Recipe, Subject):
    """The body of `POST /v1/jobs`; None where the model's entry fills in."""

    num_images: int | None = Field(None, ge=1, le=8, description="an integer from 1 to 8")
    output: OutputRequest | None = Field(None, description="an object `{format, quality}`")
    webhook: WebhookRequest | None = Field(None, description="an object `{url, events, shape}`")
    metadata: dict[MetadataKey, MetadataValue] | None = Field(
        None,
        max_length=16,
        description="at most 16 pairs of strings, keys of 1 to 64 and values of at most 512 "
        "characters",
    )
    priority: Priority | None = Field(None, description="`low`, `normal` or `high`")
    start_deadline_s: int | None = Field(
        None, ge=1, le=7 * 86_400, description="an integer from 1 to 604800, in seconds"
    )


class UploadRequest(Body):
    """The file that is to be sent to the object store."""

    bytes: int = Field(ge=1, description="the file's size, a positive integer")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="the file's SHA-256, 64 hexadecimal digits"
    )


class RegisterRequest(Body):
    """The body of `POST /v1/loras`."""

    id: str = Field(
        pattern=_NAME,
        max_length=128,
        description="1 to 128 letters, digits, `.`, `_` or `-`, the first a letter or digit",
    )
    source: str | None = Field(
        None,
        min_length=1,
        max_length=URL_MAX,
        description="a reference such as `hf:owner/name`, `s3://bucket/key` or `https://…`",
    )
    upload: UploadRequest | None = Field(None, description="an object `{bytes, sha256}`")
    base: str | None = Field(
        None, min_length=1, max_length=128, description="the id of the base model it belongs to"
    )
    weight_name: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="the name of one `.safetensors` file of `source`, at most 255 characters",
    )
    scale: float = Field(1.0, ge=MIN_SCALE, le=MAX_SCALE, description="a number from -5 to 5")
    trigger_words: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        (), max_length=32, description="at most 32 strings of 1 to 256 characters"
    )
    license: str | None = Field(
        None, max_length=256, description="a string of at most 256 characters"
    )
    visibility: Visibility | None = Field(None, description="`private` or `public`")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.upload is None):
            raise PydanticCustomError(ALLOWED, "give either `source` or `upload`")
        if self.upload is not None and self.weight_name is not None:
            raise PydanticCustomError(ALLOWED, "give `weight_name` only with `source`")
        return self
