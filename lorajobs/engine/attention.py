"""Which of torch's attention kernels a denoiser uses, where its entry names one.

diffusers' `set_attention_backend` reaches only processors that ask its dispatcher, so on U-Nets it
does nothing and says nothing. All of them end in torch's `scaled_dot_product_attention`, whose
kernel is chosen here, around the whole forward. The text encoders and the decoder keep torch's own
choice: they have masks and heads of other sizes.
"""

import inspect
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from lorajobs.errors import BaseLoadFailed, EngineFailed

#: torch's kernels by their names in a catalog.
KERNELS: Mapping[str, Any] = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}
#: What a processor calls that ends in torch's attention.
_CALLS = frozenset({"scaled_dot_product_attention", "dispatch_attention_fn"})
#: How torch says that the kernel cannot do what it is asked for, on CUDA and on a CPU.
_UNABLE = ("No available kernel", "No viable backend")
#: Lengths that are probed: of a picture's tokens, and of a text's.
_LENGTHS = (64, 77)
#: The choice holds for the whole process, so nothing else may attend meanwhile.
_CHOOSING = threading.RLock()


def attend(denoiser: torch.nn.Module, device: torch.device, name: str) -> None:
    """From now on its forward uses this kernel and no other; `auto` leaves torch its choice.

    Raises: BaseLoadFailed if that would have no effect, or the device cannot.
    """
    if name == "auto":
        return
    try:
        for size in sorted(_head_sizes(denoiser)):
            _probe(name, size, device, next(denoiser.parameters()).dtype)
    except RuntimeError as error:
        raise BaseLoadFailed(
            f'attention = "{name}": {error}; leave it out or give "auto"'
        ) from error
    denoiser.forward = _chosen(denoiser.forward, name)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Attention of another model in another thread: no denoiser's choice is in force."""
    with _CHOOSING:
        yield


def _chosen(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        try:
            with _only(name):
                return forward(*args, **kwargs)
        except RuntimeError as error:
            if any(words in str(error) for words in _UNABLE):
                raise EngineFailed(
                    f'attention = "{name}" of the model cannot do this job: {error}'
                ) from error
            raise

    return call


@contextmanager
def _only(name: str) -> Iterator[None]:
    # The keys of torch's own caches of compiled code do not know of the choice.
    config: Any = getattr(torch.compiler, "config", None)
    tagged: AbstractContextManager[object] = nullcontext()
    if hasattr(config, "cache_key_tag"):
        tagged = config.patch(cache_key_tag=f"attention={name}")
    with _CHOOSING, sdpa_kernel(KERNELS[name]), tagged:
        yield


def _head_sizes(denoiser: torch.nn.Module) -> set[int]:
    """Of all its attentions.

    Raises: RuntimeError if one of them does not use torch's.
    """
    found = set()
    for path, module in denoiser.named_modules():
        processor, heads = getattr(module, "processor", None), getattr(module, "heads", None)
        if processor is None or not heads:
            continue
        code = inspect.unwrap(type(processor).__call__).__code__
        if _CALLS.isdisjoint(code.co_names):
            raise RuntimeError(f"{type(processor).__name__} of {path} does without torch's kernels")
        found.add(int(module.inner_dim) // int(heads))
    if not found:
        raise RuntimeError(f"no attention is known in {type(denoiser).__name__}")
    return found


def _probe(name: str, size: int, device: torch.device, dtype: torch.dtype) -> None:
    """A small attention.

    Raises: RuntimeError with torch's reasons.
    """
    queries, *others = (
        torch.zeros(1, 2, length, size, device=device, dtype=dtype)
        for length in (_LENGTHS[0], *_LENGTHS)
    )
    with warnings.catch_warnings(record=True) as told, torch.inference_mode():
        warnings.simplefilter("always")
        try:
            with _only(name):
                for keys in others:
                    scaled_dot_product_attention(queries, keys, keys)
        except RuntimeError as error:
            if not any(words in str(error) for words in _UNABLE):
                raise
            why = "; ".join(dict.fromkeys(str(one.message).split(" (Trig")[0] for one in told))
            raise RuntimeError(
                f"not on this device for heads of {size} in {dtype}{why and ': '}{why}"
            ) from error
