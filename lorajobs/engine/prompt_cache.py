"""Encoded prompts: the same words and the same text encoders need no second encoding.

Several pictures of one job, the same prompt with another seed or another adapter of the denoiser:
the encoders of SDXL are launched for some 30 ms each time otherwise, on an H200.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from diffusers import DiffusionPipeline

#: One of SDXL's takes 0.6 MB, one of SD3's or Flux's with T5 up to 8 MB.
ENTRIES = 32


class PromptCache:
    """What `encode_prompt` of a base's pipelines gave, the least recently used one goes first."""

    def __init__(self, encoders: Callable[[], Hashable], entries: int = ENTRIES) -> None:
        """`encoders` is another value whenever the text encoders or tokenizers are others."""
        self._encoders = encoders
        self._entries = entries
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def install(self, pipe: DiffusionPipeline) -> None:
        """Lets a pipeline of this base ask here first."""
        encode = pipe.encode_prompt

        def encoded(*args: object, **kwargs: object) -> Any:  # noqa: ANN401
            key = _key((args, kwargs))
            if key is None:
                return encode(*args, **kwargs)
            return self._found((type(pipe), self._encoders(), key), lambda: encode(*args, **kwargs))

        pipe.encode_prompt = encoded

    def clear(self) -> None:
        """Forgets all."""
        self._known.clear()

    def _found(self, key: Hashable, encode: Callable[[], Any]) -> Any:  # noqa: ANN401
        if key not in self._known:
            self._known[key] = encode()
            if len(self._known) > self._entries:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def _key(value: object) -> Hashable | None:
    """The value as something to look up; None for what cannot be compared by content."""
    if isinstance(value, dict):
        parts = [(name, _key(part)) for name, part in sorted(value.items())]
        return None if any(part is None for _, part in parts) else tuple(parts)
    if isinstance(value, tuple | list):
        keys = [_key(part) for part in value]
        return None if None in keys else (type(value), *keys)
    # With its type, so that 1, 1.0 and True differ.
    is_plain = value is None or isinstance(value, str | bool | int | float | torch.device)
    return (type(value), value) if is_plain else None
