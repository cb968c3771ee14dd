"""Notes when the parts of a pipeline work on its device, for the price of two events a part."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from bench.turns import Span, Turn, line
from lorajobs.engine.arena import Slots
from lorajobs.engine.base import Generation, LocalAdapter, OnStep, Picture
from lorajobs.engine.fuse import Fuser, Plan, Work
from lorajobs.engine.inplace import InPlaceRack
from lorajobs.engine.pipeline import DiffusersEngine
from lorajobs.jobs import AppliedLora

P = ParamSpec("P")
R = TypeVar("R")
#: A moment on the device, or without one of the host's clock.
Moment = torch.cuda.Event | float
_ENCODERS = ("text_encoder", "text_encoder_2")


class Clock:
    """Moments on a device, as seconds of the host's wall clock."""

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        if self._is_cuda:
            torch.cuda.synchronize(device)
            self._first = self.now()
            torch.cuda.synchronize(device)
            self._began = time.time()

    def now(self) -> Moment:
        """The moment at which the device comes to what is enqueued next."""
        if not self._is_cuda:
            return time.time()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def seconds(self, moment: Moment) -> float:
        """When that was; waits for it."""
        if isinstance(moment, float):
            return moment
        moment.synchronize()
        assert isinstance(self._first, torch.cuda.Event)
        return float(self._began + self._first.elapsed_time(moment) / 1000)


def reserved_gb(device: torch.device) -> float:
    """The most of a device's memory that this process has held so far, GB; 0 on a CPU."""
    held = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return round(held / 1e9, 2)


def limit_memory(gigabytes: float) -> None:
    """Lets this process take so much of its GPU at most, before it has taken any; 0: all."""
    if gigabytes:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gigabytes * 1e9 / total), 0)


class Stopwatch:
    """Times a pipeline's encoders, denoiser and decoder, and what else it is asked to."""

    def __init__(self, pipe: Any, device: torch.device) -> None:  # noqa: ANN401
        self._device = device
        self._clock = Clock(device)
        self._spans: list[tuple[str, Moment, Moment]] = []
        self._marks: dict[str, float] = {}
        for name in _ENCODERS:
            encoder = getattr(pipe, name)
            encoder.forward = self.timed("encode", encoder.forward)
        # Whatever it has become: compiled, recorded.
        pipe.unet.forward = self.timed("denoise", pipe.unet.forward)
        pipe.vae.decode = self.timed("decode", pipe.vae.decode)

    def timed(self, kind: str, call: Callable[P, R]) -> Callable[P, R]:
        """The same call, timed."""

        @wraps(call)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            begin = self._clock.now()
            made = call(*args, **kwargs)
            self._spans.append((kind, begin, self._clock.now()))
            return made

        return run

    def mark(self, name: str) -> None:
        """Notes that the host is at some stage now."""
        self._marks[name] = time.time()

    def turn(self, seed: int) -> Callable[[], Turn]:
        """What was noted since the last turn; what is returned waits until the device did it."""
        noted, marks, seconds = self._spans, dict(self._marks), self._clock.seconds
        self._spans = []

        def done() -> Turn:
            spans = [Span(kind, seconds(begin), seconds(end)) for kind, begin, end in noted]
            return Turn(seed, spans, marks, reserved_gb(self._device))

        return done


class TimedFuser:
    """Implements `Fuser` by another one, timed."""

    def __init__(self, fuser: Fuser, watch: Stopwatch) -> None:
        self._fuser = fuser
        self._write = watch.timed("fuse", fuser.write)

    def write(self, plan: Plan, stale: Mapping[int, Slots]) -> None:
        """As the other."""
        self._write(plan, stale)

    def expected(self, work: Work, slots: Slots) -> torch.Tensor:
        """As the other."""
        return self._fuser.expected(work, slots)

    def samples(self, work: Work) -> Sequence[Slots]:
        """As the other."""
        return self._fuser.samples(work)


class TimedEngine(DiffusersEngine):
    """The real engine, which writes a line of `turns` for each picture."""

    def __init__(self, *args: Any, out: Path) -> None:  # noqa: ANN401
        super().__init__(*args)
        self._out = out.open("a", buffering=1)

    def load(self) -> None:
        """Loads the base, then puts the watch on it."""
        super().load()
        self._watch = Stopwatch(self._pipe, self._device)
        rack: Any = self._rack
        assert isinstance(rack.weights, InPlaceRack)
        rack.weights.fuser = TimedFuser(rack.weights.fuser, self._watch)

    def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        """As the engine."""
        self._watch.mark("apply")
        return super().apply(adapters)

    def generate(self, spec: Any, on_step: OnStep, source: Any = None) -> Generation:  # noqa: ANN401
        """As the engine; a picture that fails leaves no line."""
        self._watch.mark("generate")
        made = super().generate(spec, on_step, source)
        self._watch.mark("made")
        turn = self._watch.turn(spec.seed)

        def develop() -> Sequence[Picture]:
            pictures = made.pictures
            self._out.write(line(turn()))
            return pictures

        return Generation(develop, made.warnings)
