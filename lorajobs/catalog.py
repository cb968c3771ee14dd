"""`lorajobs.toml`: the base models and adapters that an operator serves."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from lorajobs.errors import ConfigError
from lorajobs.spec import Frozen

DEMO = Path(__file__).parent / "demo" / "lorajobs.toml"
#: What an example may be, by the end of its name.
PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


def _shown(path: Path) -> Path:
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"give a picture: {', '.join(PICTURES)}")
    return path


#: A picture's file on the machines of the API.
Picture = Annotated[Path, AfterValidator(_shown)]


class Defaults(Frozen):
    """What a request that leaves a field out gets."""

    width: int = 1024
    height: int = 1024
    num_inference_steps: int = 30
    guidance_scale: float = 5.0
    negative_prompt: str = ""
    #: of a request with a picture to start from
    strength: float = Field(0.8, gt=0, le=1)


class Limits(Frozen):
    """What a request may ask of this base."""

    min_size: int = 256
    max_size: int = 2048
    max_pixels: int = 2048 * 2048
    multiple_of: int = 8
    max_steps: int = 100
    max_guidance_scale: float = 30.0
    max_images: int = Field(8, ge=1, le=8)


class Vae(Frozen):
    """A VAE that replaces the base's own."""

    path: Path | None = None
    repo: str | None = None
    revision: str | None = None


class ModelEntry(Frozen):
    """One base model: where it is, what it accepts, what a request gets by default."""

    id: str
    aliases: tuple[str, ...] = ()
    path: Path | None = None
    repo: str | None = None
    revision: str | None = None
    variant: str | None = None
    vae: Vae | None = None
    dtype: str = Field("auto", pattern="^(auto|float32|float16|bfloat16)$")
    #: where the pristine copy of the weights lies: on the `gpu`, in the `host`'s memory, nowhere
    #: (`unfused`: PEFT's layers, slower steps), or `auto`: the fastest of these that fits
    placement: str = Field("auto", pattern="^(auto|gpu|host|unfused)$")
    #: on a CUDA device: `auto` records steps as CUDA graphs, `regional` compiles the repeated
    #: blocks and the decoder before that, `full` the whole denoiser; `eager` does neither
    speed: str = Field("auto", pattern="^(auto|eager|regional|full)$")
    #: which of torch's attention kernels the denoiser uses; `auto`: what torch chooses, and no
    #: other was faster on an H200
    attention: str = Field("auto", pattern="^(auto|flash|efficient|cudnn|math)$")
    #: on a CUDA device `auto` makes several pictures of one job at once where a short measurement
    #: says that it pays; `never`: each alone, to the bit whatever `num_images` is
    batch: str = Field("auto", pattern="^(auto|never)$")
    #: decode large pictures in tiles: less memory, and faint seams that one decode does not have
    vae_tiling: bool = False
    defaults: Defaults = Defaults()
    limits: Limits = Limits()
    #: diffusers scheduler classes that a request may name, the first is the default;
    #: empty: only the base's own
    schedulers: tuple[str, ...] = ()
    #: ids of adapters that a worker fetches and loads at start, without activating them
    preload: tuple[str, ...] = ()
    #: ids or hub names of other bases whose adapters fit, such as the family's original
    accepts: tuple[str, ...] = ()
    license: str | None = None
    #: a picture that it made, for people to see
    example: Picture | None = None
    #: how much younger than the oldest waiting job a job may be and still be taken before it,
    #: seconds; 0: strictly in order
    reorder_window_s: float = Field(10.0, ge=0)

    @model_validator(mode="after")
    def _one_source(self) -> "ModelEntry":
        if (self.path is None) == (self.repo is None):
            raise ValueError("give either `path` or `repo`")
        return self

    @property
    def queue(self) -> str:
        """The Celery queue of this base."""
        return "base." + re.sub(r"[^a-z0-9]+", "-", self.id.lower()).strip("-")

    @property
    def window_us(self) -> int:
        """`reorder_window_s` in microseconds, the queue's unit."""
        return int(self.reorder_window_s * 1_000_000)

    @property
    def own_names(self) -> frozenset[str]:
        """The names of this very base, lower case."""
        own = (self.id, *self.aliases, *((self.repo,) if self.repo else ()))
        return frozenset(name.lower() for name in own)

    @property
    def names(self) -> frozenset[str]:
        """Every name under which an adapter may declare this base, lower case."""
        return self.own_names | {name.lower() for name in self.accepts}


class LoraEntry(Frozen):
    """One adapter that the operator registers in the file."""

    id: str
    #: a reference: `hf:owner/name[@revision]`, `s3://…`, `https://…` or a path
    source: str
    #: id of the base that it belongs to; only a registration over HTTP may leave it to the card
    base: str | None = None
    weight_name: str | None = None
    scale: float = 1.0
    trigger_words: tuple[str, ...] = ()
    license: str | None = None
    #: a picture that was made with it
    example: Picture | None = None


class Catalog(Frozen):
    """The whole file."""

    models: Mapping[str, ModelEntry]
    loras: Mapping[str, LoraEntry] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _ids_from_tables(cls, data: dict[str, dict[str, dict[str, object]]]) -> object:
        return {
            kind: {name: {"id": name, **table} for name, table in tables.items()}
            for kind, tables in data.items()
        }

    @model_validator(mode="after")
    def _consistent(self) -> "Catalog":
        if not self.models:
            raise ValueError("models: give at least one base model")
        queues = [entry.queue for entry in self.models.values()]
        if len(set(queues)) < len(queues):
            raise ValueError("two model ids differ only in punctuation and would share a queue")
        names = [*self.names, *self.loras]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"the name {sorted(doubled)[0]!r} stands for two models or adapters")
        for lora in self.loras.values():
            if lora.base is None:
                raise ValueError(f"loras.{lora.id}.base: give the model that it belongs to")
            if lora.base not in self.models:
                raise ValueError(f"loras.{lora.id}.base: no model {lora.base!r} is configured")
        return self

    @property
    def default(self) -> ModelEntry:
        """The base of clients that name none: the file's first."""
        return next(iter(self.models.values()))

    @property
    def names(self) -> Sequence[str]:
        """The ids and aliases of the bases."""
        return [n for e in self.models.values() for n in (e.id, *e.aliases)]

    @cached_property
    def _by_name(self) -> Mapping[str, ModelEntry]:
        return {n: e for e in self.models.values() for n in (e.id, *e.aliases)}

    def model(self, name: str) -> ModelEntry | None:
        """The base with this id or alias."""
        return self._by_name.get(name)

    def require(self, name: str) -> ModelEntry:
        """The base with this id or alias.

        Raises: ConfigError listing the configured ones.
        """
        entry = self.model(name)
        if entry is None:
            raise ConfigError(f"no model {name!r} is configured; there is {sorted(self.models)}")
        return entry

    @classmethod
    def load(cls, path: Path | None) -> "Catalog":
        """Reads the file, or the bundled demo's; relative paths start at the file's folder.

        Raises: ConfigError naming the key.
        """
        file = path or DEMO
        try:
            catalog = cls.model_validate(tomllib.loads(file.read_text()))
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file}: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{file}: {where}: {first['msg']}") from error
        return catalog._anchored(file.resolve().parent)

    def _anchored(self, folder: Path) -> "Catalog":
        models = {}
        for key, entry in self.models.items():
            vae = entry.vae
            if vae and vae.path:
                vae = vae.model_copy(update={"path": folder / vae.path.expanduser()})
            own = {"path": _below(folder, entry.path), "example": _below(folder, entry.example)}
            models[key] = entry.model_copy(update=own | {"vae": vae})
        loras = {}
        for key, lora in self.loras.items():
            named = lora.source if ":" in lora.source else str(_below(folder, Path(lora.source)))
            example = _below(folder, lora.example)
            loras[key] = lora.model_copy(update={"source": named, "example": example})
        return self.model_copy(update={"models": models, "loras": loras})


def _below(folder: Path, path: Path | None) -> Path | None:
    return folder / path.expanduser() if path else None
