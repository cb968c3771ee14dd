"""How strongly an adapter's factors count: PEFT's configuration, as far as it changes weights."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

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
        declared = _look_up(self.rank_pattern, module, self.r)
        if declared is not None and rank and declared != rank:
            raise LoraShapeMismatch(f"its configuration says rank {declared}, {module} has {rank}")
        alpha = _look_up(self.alpha_pattern, module, self.lora_alpha)
        divisor = rank or declared
        if alpha is None or not divisor:
            return None
        return alpha / (math.sqrt(divisor) if self.use_rslora else divisor)


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


def _look_up(patterns: Mapping[str, V], module: str, default: V | None) -> V | None:
    for pattern, value in patterns.items():
        # PEFT takes regular expressions; a hostile one can run for ever, and files use names.
        name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if not name.replace(".", "").replace("_", "").isalnum():
            raise LoraUnsupported(f"adapter configuration: the pattern {pattern!r} is not a name")
        if module == name or (not pattern.startswith("^") and module.endswith(f".{name}")):
            return value
    return default
