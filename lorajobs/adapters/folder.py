"""What a source shows of a reference, and which of its files are the adapter's weights."""

import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from lorajobs.adapters import tokens
from lorajobs.adapters.card import Card
from lorajobs.adapters.location import HubFile, S3Version
from lorajobs.adapters.reference import Reference
from lorajobs.errors import LoraInvalidFile, LoraNotFound, LoraPickle, LoraSeveralFiles
from lorajobs.field_errors import nearest

PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
MAX_CONFIG_BYTES = 64 * 1024

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
WEIGHT_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)
_LISTED = 20


class Trust(Enum):
    """Who named a reference, and so what it may reach."""

    #: a job's own reference: no hub token, and only what the settings allow
    CALLER = "caller"
    #: `POST /v1/loras` by a key that is no admin's: the same
    OWNED = "owned"
    #: `POST /v1/loras` by the operator: the hub token, and only what the settings allow
    REGISTERED = "registered"
    #: `lorajobs.toml`: the hub token, any path and any bucket
    CONFIGURED = "configured"

    @property
    def has_token(self) -> bool:
        """True for the operator's own references."""
        return self in (Trust.REGISTERED, Trust.CONFIGURED)


class Pin(NamedTuple):
    """A version that its source keeps for ever under a name and whose hash it tells."""

    location: HubFile | S3Version
    revision: str
    sha256: str
    bytes: int


class Folder(Protocol):
    """The files behind one reference at one moment; a single file is a folder of one."""

    @property
    def where(self) -> str:
        """What messages call it."""

    @property
    def names(self) -> Sequence[str]:
        """The files, relative to the folder."""

    @property
    def card(self) -> Card | None:
        """The model card, if the source has such a thing."""

    def pin(self, name: str) -> Pin | None:
        """The file's version, or None if only a copy keeps it.

        Raises: LoraTooLarge, and what `copy` raises if the file cannot be read.
        """

    def state(self, name: str) -> str | None:
        """A text that is another one once the file changed; None if that is unknown."""

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Writes the file's bytes into `target`.

        Raises: LoraTooLarge, LoraNotFound, HubGated, UrlNotAllowed, LoraFetchFailed, OSError.
        """


class Source(Protocol):
    """One kind of place that adapters come from."""

    def open(self, reference: Reference, trust: Trust, where: str) -> Folder:
        """Looks the reference up; errors call it `where`, which tells no secret.

        Raises: LoraNotFound, HubGated, UrlNotAllowed, PathNotAllowed, LoraFetchFailed.
        """


class Choice(NamedTuple):
    """The weight file of a folder; in a PEFT folder its config; the tokens trained with it."""

    weights: str
    config: str | None
    embeddings: str | None = None


def choose(names: Sequence[str], weight_name: str | None, where: str) -> Choice:
    """Finds the weight file: the one that is named, PEFT's, or the only one.

    Files in subfolders count only if there is none at the top.
    Raises: LoraNotFound, LoraSeveralFiles, LoraPickle; each lists what is there.
    """
    weights = weight_name or _only(names, where)
    if weights.lower().endswith(PICKLE_SUFFIXES):
        raise LoraPickle(f"{where}: {weights} is a pickle, which can run code; give .safetensors")
    if weights not in names:
        hint = f"; did you mean {n[0]}?" if (n := nearest(weights, _weights(names))) else ""
        raise LoraNotFound(f"{where}: there is no {weights}{hint}; {_listing(names)}")
    if not weights.endswith(".safetensors"):
        raise LoraNotFound(f"{where}: {weights} is not a .safetensors file")
    path = PurePosixPath(weights)
    config = str(path.with_name(PEFT_CONFIG))
    has_config = path.name == PEFT_WEIGHTS and config in names
    return Choice(weights, config if has_config else None, _embeddings(weights, names, where))


def _embeddings(weights: str, names: Sequence[str], where: str) -> str | None:
    found = tokens.beside(weights, names)
    if found is None and (pickled := tokens.pickled_beside(weights, names)):
        raise LoraPickle(
            f"{where}: {weights} comes with trained tokens in {pickled}, a pickle, which can run "
            "code; convert them to embeddings.safetensors"
        )
    return found


def _only(names: Sequence[str], where: str) -> str:
    top = [name for name in names if "/" not in name]
    if PEFT_CONFIG in top and PEFT_WEIGHTS in top:
        return PEFT_WEIGHTS
    found = _weights(top) or _weights(names)
    plain = [name for name in found if not tokens.is_tokens(name)]
    if len(plain) == 1 and {*found} - {tokens.beside(plain[0], names)} == {*plain}:
        return plain[0]
    if len(found) == 1:
        return found[0]
    if found:
        raise LoraSeveralFiles(
            f"{where} holds several weight files; name one by `weight_name`: {_shown(found)}"
        )
    pickles = [name for name in names if name.lower().endswith(PICKLE_SUFFIXES)]
    if pickles:
        raise LoraPickle(
            f"{where} holds only pickled weights ({_shown(pickles)}), which can run code; "
            "convert them to .safetensors"
        )
    if PEFT_CONFIG in top:
        raise LoraNotFound(f"{where}: {PEFT_CONFIG} is there but {PEFT_WEIGHTS} is missing")
    raise LoraNotFound(f"{where}: there is no .safetensors file; {_listing(names)}")


def _weights(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(".safetensors")]


def _listing(names: Sequence[str]) -> str:
    return f"there is: {_shown(names)}" if names else "it is empty"


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(sorted(names)[:_LISTED]) + more


def peft_config(raw: bytes, where: str) -> dict[str, object]:
    """Reads `adapter_config.json`.

    Raises: LoraInvalidFile.
    """
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise LoraInvalidFile(f"{where}: {PEFT_CONFIG} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise LoraInvalidFile(f"{where}: {PEFT_CONFIG} is not a JSON object")
    return config
