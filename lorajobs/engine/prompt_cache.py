"""Encoded prompts: the same words and the same text encoders need no second encoding.

Several pictures of one job, the same prompt with another seed or another adapter of the denoiser:
the encoders of SDXL are launched for some 30 ms each time otherwise, on an H200.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from diffusers import DiffusionPipeline

from lorajobs.engine.form import form_of

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
            tensors: list[torch.Tensor] = []
            form = form_of((args, kwargs), tensors)
            if form is None or tensors:
                return encode(*args, **kwargs)
            key = type(pipe), self._encoders(), form
            return self._found(key, lambda: encode(*args, **kwargs))

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
