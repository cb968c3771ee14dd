"""The tokens that adapters bring (pivotal tuning), in a pipeline's tokenizers and text encoders.

A base's own tokenizer and embedding are never changed: a larger copy stands in for each while an
adapter's tokens are there, and the very same objects stand there again afterwards. Rows as by
diffusers' `load_textual_inversion`: https://huggingface.co/docs/diffusers, textual inversion.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from lorajobs.adapters.tokens import ENCODERS
from lorajobs.engine import lora_file
from lorajobs.engine.base import LocalAdapter
from lorajobs.errors import BaseCorrupt, LoraNotApplied, LoraRefused
from lorajobs.lora_errors import (
    LoraNotFinite,
    LoraShapeMismatch,
    LoraTokenClash,
    LoraUnknownKeys,
)

#: Most adapters call their tokens `<s0>` and `<s1>`; a copy of a tokenizer takes 0.4 s to make.
_TOKENIZERS = 4


class Tokens(NamedTuple):
    """What one adapter brings."""

    names: tuple[str, ...]
    #: by text encoder, a row for each name
    rows: Mapping[str, Tensor]


class _Stand(NamedTuple):
    """What stands in for one text encoder's own."""

    tokenizer: Any
    weight: nn.Parameter
    #: the ids of the added tokens, and their rows
    ids: Sequence[int]
    rows: Tensor


class Vocabulary:
    """The CLIP text encoders of one pipeline, each with its tokenizer."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        """Takes a pipeline without added tokens."""
        self._pipe = pipe
        self._own = {
            name: (getattr(pipe, _tokenizer(name)), embedding(pipe, name).weight)
            for name in encoders(pipe)
        }
        self._stands: dict[str, _Stand] = {}
        self._tokenizers: dict[tuple[str, ...], Any] = {}

    def read(self, adapter: LocalAdapter) -> Tokens:
        """See `read`."""
        return read(adapter, self._pipe)

    def set(self, tokens: Sequence[Tokens]) -> None:
        """Adds exactly these tokens.

        Raises: LoraTokenClash; there are none then.
        """
        self.clear()
        names = [name for some in tokens for name in some.names]
        if not names:
            return
        stands = {
            name: self._stand(name, names, torch.cat([some.rows[name] for some in tokens]))
            for name in self._own
        }
        for name, stand in stands.items():
            setattr(self._pipe, _tokenizer(name), stand.tokenizer)
            embedding(self._pipe, name).weight = stand.weight
        self._stands = stands

    def clear(self) -> None:
        """Puts the base's own tokenizers and embeddings back."""
        for name, (tokenizer, weight) in self._own.items():
            if getattr(self._pipe, _tokenizer(name)) is not tokenizer:
                setattr(self._pipe, _tokenizer(name), tokenizer)
            embedding(self._pipe, name).weight = weight
        self._stands = {}

    def check(self) -> None:
        """Compares the added rows with what they must be, to the bit.

        Raises: BaseCorrupt.
        """
        for name, stand in self._stands.items():
            if not torch.equal(embedding(self._pipe, name).weight[stand.ids], stand.rows):
                raise BaseCorrupt(f"{name}: the embedding is not that of the adapters' tokens")

    def _stand(self, name: str, names: Sequence[str], rows: Tensor) -> _Stand:
        tokenizer = self._extended(name, names)
        ids = tokenizer.convert_tokens_to_ids(list(names))
        own = self._own[name][1]
        rows = rows.to(own)
        if not bool(rows.isfinite().all()):
            raise LoraNotFinite(f"its tokens are not finite in the base's precision {own.dtype}")
        size = max(len(own), max(ids) + 1)
        weight = torch.zeros((size, own.shape[1]), dtype=own.dtype, device=own.device)
        weight[: len(own)] = own.detach()
        weight[ids] = rows
        return _Stand(tokenizer, nn.Parameter(weight, requires_grad=False), ids, rows)

    def _extended(self, encoder: str, names: Sequence[str]) -> Any:  # noqa: ANN401
        key = (encoder, *names)
        if key in self._tokenizers:
            return self._tokenizers[key]
        own = self._own[encoder][0]
        known = own.get_vocab()
        taken = [n for i, n in enumerate(names) if n in known or n in names[:i]]
        if taken:
            raise LoraTokenClash(f"the token {taken[0]} is the base's own or another adapter's")
        tokenizer = copy.deepcopy(own)
        tokenizer.add_tokens(list(names))
        if len(self._tokenizers) >= _TOKENIZERS * len(self._own):
            self._tokenizers.clear()
        self._tokenizers[key] = tokenizer
        return tokenizer


def encoders(pipe: DiffusionPipeline) -> Sequence[str]:
    """The text encoders of a pipeline that tokens can be trained for: CLIP's."""
    names = sorted(set(ENCODERS.values()))
    return [name for name in names if "CLIP" in type(getattr(pipe, name, None)).__name__]


def embedding(pipe: DiffusionPipeline, encoder: str) -> nn.Embedding:
    """The token embedding of a text encoder."""
    found: nn.Embedding = getattr(pipe, encoder).get_input_embeddings()
    return found


def read(adapter: LocalAdapter, pipe: DiffusionPipeline) -> Tokens:
    """Reads the tokens that an adapter brings; the pipeline's weights may lie on `meta`.

    Raises: LoraRefused, naming the adapter, unless each text encoder gets a row for each token.
    """
    pinned = adapter.use.adapter
    if pinned.embeddings is None:
        return Tokens((), {})
    if adapter.embeddings is None:
        raise LoraNotApplied(f"{pinned.id}: the file of its trained tokens is not here")
    try:
        header = lora_file.header(adapter.embeddings)
        file = lora_file.load(adapter.embeddings, header)
        lora_file.require_finite(file)
        rows = _rows(file.tensors, pipe, len(pinned.embeddings.tokens))
    except LoraRefused as error:
        called = f"{pinned.id}: {pinned.embeddings.weight_name}"
        raise type(error)(f"{called}: {error.detail}") from error
    return Tokens(pinned.embeddings.tokens, rows)


def _rows(tensors: Mapping[str, Tensor], pipe: DiffusionPipeline, count: int) -> dict[str, Tensor]:
    found = encoders(pipe)
    strange = [name for name in tensors if ENCODERS.get(name) not in found]
    if strange:
        raise LoraUnknownKeys(
            f"{strange[0]} is for {ENCODERS.get(strange[0], 'no text encoder that is known')}; "
            f"this base takes tokens for {' and '.join(found) or 'none'}"
        )
    # A copy, as the file may leave the disk.
    rows = {ENCODERS[name]: tensor.clone() for name, tensor in tensors.items()}
    for name in found:
        shape = count, embedding(pipe, name).weight.shape[1]
        if name not in rows:
            raise LoraShapeMismatch(f"it has no rows for {name}, which this base reads prompts by")
        if tuple(rows[name].shape) != shape:
            raise LoraShapeMismatch(f"{name} needs {shape}, it has {tuple(rows[name].shape)}")
    return rows


def _tokenizer(encoder: str) -> str:
    return encoder.replace("text_encoder", "tokenizer")
