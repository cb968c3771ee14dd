"""How strongly an adapter's factors count: PEFT's configuration, as far as it changes weights."""

import json
import math
from collections.abc import Mapping
from functools import cached_property
from operator import itemgetter
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from lorajobs.errors import LoraInvalidFile
from lorajobs.lora_errors import LoraShapeMismatch, LoraUnsupported

V = TypeVar("V")

#: Where diffusers puts the configuration into a safetensors header.
HEADER_KEY = "lora_adapter_metadata"
#: Initialisations that also changed the base, so that the factors alone are not the adapter.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


class LoraConfig(BaseModel, extra="ignore"):
    """One part's `adapter_config.json`; every field is what PEFT takes where it is not given."""

    peft_type: Literal["LORA", "LOHA", "LOKR"] = "LORA"
    r: int | None = None
    #: LoHa and LoKr call it `alpha`
    lora_alpha: float | None = Field(
        None, validation_alias=AliasChoices("lora_alpha", "alpha"), allow_inf_nan=False
    )
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: bool | str | None = True
    # What follows changes the mathematics, and is not served.
    fan_in_fan_out: Literal[False] = False
    use_qalora: Literal[False] = False
    layer_replication: None = None
    alora_invocation_tokens: None = None
    arrow_config: None = None

    def strength(self, module: str, rank: int) -> float | None:
        """What a module's product of this rank is multiplied with; None if no alpha is given.

        `rank` 0 means that the layer has none, as a LoKr of two whole halves.
        Raises: LoraShapeMismatch if the configuration and the file disagree on the rank.
        """
        declared = self._ranks.find(module, self.r)
        if declared is not None and rank and declared != rank:
            raise LoraShapeMismatch(f"its configuration says rank {declared}, {module} has {rank}")
        alpha = self._alphas.find(module, self.lora_alpha)
        divisor = rank or declared
        if alpha is None or not divisor:
            return None
        return alpha / (math.sqrt(divisor) if self.use_rslora else divisor)

    @cached_property
    def _ranks(self) -> "_Patterns[int]":
        return _Patterns(self.rank_pattern)

    @cached_property
    def _alphas(self) -> "_Patterns[float]":
        return _Patterns(self.alpha_pattern)


def from_folder(adapter_config: Mapping[str, object]) -> LoraConfig:
    """Reads the `adapter_config.json` of a PEFT folder.

    Raises: LoraUnsupported naming the field that is wrong or cannot be honoured.
    """
    return _parsed(adapter_config)


def from_header(metadata: Mapping[str, str], component: str) -> LoraConfig:
    """Reads what diffusers wrote for one component; without it, alpha equals the rank.

    Raises: LoraInvalidFile if it is not readable, else as `from_folder` does.
    """
    try:
        fields = json.loads(metadata.get(HEADER_KEY, "{}"))
    except ValueError as error:
        raise LoraInvalidFile(f"{HEADER_KEY} in its header is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise LoraInvalidFile(f"{HEADER_KEY} in its header is not an object")
    prefix = f"{component}."
    own = {k.removeprefix(prefix): v for k, v in fields.items() if k.startswith(prefix)}
    # A model saved on its own, not through its pipeline, names no component.
    return _parsed(own or {k: v for k, v in fields.items() if "." not in k})


def _parsed(fields: Mapping[str, object]) -> LoraConfig:
    # PEFT writes null for what it leaves to its default.
    given = {key: value for key, value in fields.items() if value is not None}
    try:
        config = LoraConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise LoraUnsupported(f"adapter configuration, {name}: {first['msg']}") from error
    if str(config.init_lora_weights).lower().startswith(_CHANGES_BASE):
        raise LoraUnsupported(
            f"adapter configuration, init_lora_weights: {config.init_lora_weights} changed the "
            "base as well; convert the adapter to plain LoRA with PEFT"
        )
    return config


class _Patterns(Generic[V]):
    """PEFT's patterns, of which the first that fits a module counts."""

    def __init__(self, patterns: Mapping[str, V]) -> None:
        #: by a module's path, and by any end of it; with the place in the order
        self._whole: dict[str, tuple[int, V]] = {}
        self._ends: dict[str, tuple[int, V]] = {}
        self._no_name: str | None = None
        self._is_empty = not patterns
        for number, (pattern, value) in enumerate(patterns.items()):
            # PEFT takes regular expressions; a hostile one can run for ever, and files use names.
            name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
            if not name.replace(".", "").replace("_", "").isalnum():
                self._no_name = pattern
                break
            fitting = self._whole if pattern.startswith("^") else self._ends
            fitting.setdefault(name, (number, value))

    def find(self, module: str, default: V | None) -> V | None:
        """The value for a module.

        Raises: LoraUnsupported if no name fits, and a pattern follows that is none.
        """
        if self._is_empty:
            return default
        found = [self._whole[module]] if module in self._whole else []
        rest = module if self._ends else ""
        while rest:
            found += [self._ends[rest]] if rest in self._ends else []
            rest = rest.partition(".")[2]
        if found:
            return min(found, key=itemgetter(0))[1]
        if self._no_name is not None:
            raise LoraUnsupported(
                f"adapter configuration: the pattern {self._no_name!r} is not a name"
            )
        return default
