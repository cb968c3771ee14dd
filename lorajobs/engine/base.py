"""The engine as the worker sees it; imports no torch, so that fakes and the worker's parent can."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL.Image import Image

from lorajobs.errors import EngineFailed
from lorajobs.jobs import AppliedLora, JobWarning
from lorajobs.spec import AdapterUse, JobSpec

#: Called after each denoise step with the steps done of `JobSpec.all_steps`, the
#: last time before the last decode; what it raises, such as JobCanceled, ends the generation.
#: A device may be a step behind what is told.
OnStep = Callable[[int], None]


class DeviceFault(Exception):
    """The device failed, and nothing in this process can compute on it any more."""


class LocalAdapter(NamedTuple):
    """An adapter whose files lie on this machine."""

    use: AdapterUse
    path: Path
    #: the trained tokens, if it comes with any
    embeddings: Path | None = None


class Picture(NamedTuple):
    """One picture in memory and the seed that makes it again."""

    image: Image
    seed: int
    #: whether a checker flagged it, so that it must not be shown, and why; None if nobody looked
    nsfw: bool | None = None
    reason: str = ""


@dataclass(frozen=True)
class Generation:
    """What one call of `generate` makes, with warnings such as a prompt that was cut.

    The device may still decode: the engine can be given its next work before `pictures` is read.
    """

    #: waits for the pictures
    develop: Callable[[], Sequence[Picture]]
    warnings: Sequence[JobWarning]

    @cached_property
    def pictures(self) -> Sequence[Picture]:
        """Once they are here, in any thread.

        Raises: BadPicture, OutOfMemory, EngineFailed, DeviceFault.
        """
        return self.develop()


class Engine(Protocol):
    """One warm base model; but for `stage` not thread-safe."""

    def load(self) -> None:
        """Loads the base onto the device.

        Raises: BaseLoadFailed.
        """

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Loads adapters so that `apply` finds them ready; none becomes active, scales are unused.

        Raises: LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed; the base is bare then.
        """

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """Does of that what it can from another thread, beside all other verbs.

        Raises: LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed; nothing becomes of it.
        """

    def apply(self, adapters: Sequence[LocalAdapter]) -> Sequence[AppliedLora]:
        """Makes exactly these adapters active, and verifies it; does nothing if they are.

        Their order has no meaning. Raises: LoraRefused, LoraNotApplied, OutOfMemory, EngineFailed;
        the base is bare then.
        """

    def applied(self) -> Sequence[AppliedLora]:
        """The adapters active now."""

    def resident(self) -> Collection[str]:
        """The SHA-256 of adapters that `apply` finds in memory."""

    def placement(self) -> str:
        """Where the pristine weights lie, one of `Placement`; empty if it has none."""

    def check(self) -> None:
        """Compares a sample of the weights in memory with what they must be, to the bit.

        Raises: BaseCorrupt, OutOfMemory, EngineFailed.
        """

    def footprint(self) -> int:
        """Host memory that it can be parked in, bytes; 0 if it cannot be."""

    def park(self, *, free: bool = False) -> None:
        """Lets another base have the device; with `free` its memory is given back too.

        Until `unpark` only `resident`, `placement`, `footprint` and `close` work. Raises:
        OutOfMemory, EngineFailed; it can only be closed then.
        """

    def unpark(self) -> None:
        """Is on the device again, without adapters.

        Raises: OutOfMemory, EngineFailed; it can only be closed then.
        """

    def close(self) -> None:
        """Gives back the device's memory; the engine is of no use afterwards."""

    def generate(self, spec: JobSpec, on_step: OnStep, source: Image | None = None) -> Generation:
        """Makes `num_images` pictures, image i with seed + i, from `source` if `spec.image` is set.

        Returns once the last decode is enqueued on the device. Raises: OutOfMemory, EngineFailed,
        JobCanceled, and like all verbs DeviceFault; for the rest see `Generation.pictures`.
        """


def require_source(spec: JobSpec, source: Image | None) -> None:
    """Refuses to make a picture from text alone that is to start from another, and the reverse.

    Raises: EngineFailed.
    """
    size = source.size if source else None
    if size != ((spec.width, spec.height) if spec.image else None):
        raise EngineFailed(f"the source picture has the size {size}, not that of the job")
