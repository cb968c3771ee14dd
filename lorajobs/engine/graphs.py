"""The denoiser's launches as CUDA graphs: recorded at the first step of a shape, then replayed.

A graph holds pointers, and those of the weights never change (`arena.py`), so one graph serves
every adapter. What it saves is Python and launches: on an H200 a step of SDXL at 512 px is seven
times faster, with nothing to compile (`docs/engine.md`).
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from lorajobs.engine.device import is_out_of_memory
from lorajobs.engine.form import form_of

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Steps that run without a graph for want of memory until one is tried again: some pictures, since
#: a trial costs as much as a graph saves in a few steps.
AGAIN = 200


class Recording(Protocol):
    """Work that can be done again on whatever its inputs hold by then."""

    @property
    def bytes(self) -> int:
        """Device memory that it keeps."""

    def replay(self) -> None:
        """Does it."""

    def release(self) -> None:
        """Gives back its memory; it is of no use afterwards."""


class Recorder(Protocol):
    """Makes recordings; only one at a time may be replayed."""

    def record(self, work: Callable[[], T]) -> tuple[Recording, T]:
        """Does the work and keeps it; its results are written anew by each replay.

        Raises: what the work raises, RuntimeError if it cannot be recorded.
        """


class _Entry(NamedTuple):
    recording: Recording
    inputs: Sequence[torch.Tensor]
    outputs: tuple[torch.Tensor, ...]


class Graphs:
    """The forward of one module, recorded for each form of its arguments; LRU within a budget."""

    def __init__(
        self, forward: Callable[..., Any], recorder: Recorder, device: torch.device, budget: int
    ) -> None:
        """`budget` is in bytes of device memory."""
        self._forward = forward
        self._recorder = recorder
        self._device = device
        self._budget = budget
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        #: forms that are not recorded, and for how many calls
        self._refused: dict[Hashable, float] = {}

    @property
    def count(self) -> int:
        """How many are kept."""
        return len(self._entries)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """As the module's own forward; the result is the caller's to keep."""
        tensors: list[torch.Tensor] = []
        form = form_of((args, kwargs), tensors)
        if form is None or self._is_refused(form):
            return self._forward(*args, **kwargs)
        entry = self._entries.get(form)
        if entry is None:
            entry = self._recorded(form, (args, kwargs), tensors)
            if entry is None:
                return self._forward(*args, **kwargs)
        self._entries.move_to_end(form)
        for held, given in zip(entry.inputs, tensors, strict=True):
            held.copy_(given, non_blocking=True)
        entry.recording.replay()
        # The next replay writes over them, and a scheduler may keep what it was given.
        return tuple(output.clone() for output in entry.outputs)

    def release(self) -> int:
        """Gives back all memory, and says how many there were; later calls record anew."""
        count = self.count
        while self._entries:
            self._drop_oldest()
        return count

    def _recorded(
        self, form: Hashable, given: tuple[Any, Any], tensors: Sequence[torch.Tensor]
    ) -> _Entry | None:
        """A new recording, or None if there is none of this form."""
        inputs = [tensor.detach().to(self._device, copy=True) for tensor in tensors]
        args, kwargs = _filled(given, iter(inputs))
        try:
            recording, outputs = self._recorder.record(
                lambda: _tensors_of(self._forward(*args, **kwargs))
            )
        except Exception as error:
            self._refuse(form, error)
            return None
        entry = self._entries[form] = _Entry(recording, inputs, outputs)
        while len(self._entries) > 1 and self._bytes > self._budget:
            self._drop_oldest()
        if self._bytes > self._budget:
            self._refuse(
                form, f"it takes {self._bytes >> 20} MiB, allowed are {self._budget >> 20}"
            )
            self._drop_oldest()
            return None
        log.info("recorded a graph of %d MiB, %d in all", recording.bytes >> 20, self.count)
        return entry

    @property
    def _bytes(self) -> int:
        return sum(entry.recording.bytes for entry in self._entries.values())

    def _is_refused(self, form: Hashable) -> bool:
        left = self._refused.get(form, 0)
        if left:
            self._refused[form] = left - 1
        return left > 0

    def _refuse(self, form: Hashable, why: object) -> None:
        log.warning("steps of one size run without a graph: %s", why)
        is_short = isinstance(why, Exception) and is_out_of_memory(why)
        # What took the memory may be gone by then.
        self._refused[form] = AGAIN if is_short else math.inf
        if is_short:
            # What is left of memory is for those who cannot do without.
            self.release()

    def _drop_oldest(self) -> None:
        _, entry = self._entries.popitem(last=False)
        entry.recording.release()


def _tensors_of(result: Any) -> tuple[torch.Tensor, ...]:  # noqa: ANN401
    """What a forward with `return_dict=False` gives.

    Raises: RuntimeError for anything else.
    """
    if isinstance(result, tuple) and all(isinstance(part, torch.Tensor) for part in result):
        return result
    raise RuntimeError(f"it returns {type(result).__name__}, not a tuple of tensors")


def _filled(value: Any, tensors: Any) -> Any:  # noqa: ANN401
    """The value with its tensors replaced by the next of `tensors`, in the order of `form_of`."""
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return {name: _filled(part, tensors) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_filled(part, tensors) for part in value)
    return value
