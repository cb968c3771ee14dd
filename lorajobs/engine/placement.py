"""Where the pristine copy of a base's weights lies, chosen once when the base is loaded."""

from enum import StrEnum
from typing import NamedTuple

from lorajobs.errors import BaseLoadFailed

#: What a job needs beside the weights: a decode at 1024 px takes 2.6 GB, staged factors up to 1 GB.
GPU_WORKING_BYTES = 4 << 30
#: What the host keeps free beside a pinned copy.
HOST_WORKING_BYTES = 2 << 30


class Placement(StrEnum):
    """Where W0 lies; unfused: there is none, PEFT's layers add to each forward pass instead."""

    GPU = "gpu"
    HOST = "host"
    UNFUSED = "unfused"


class Memory(NamedTuple):
    """What is free, bytes; `gpu` is None where the base computes in the host's own memory."""

    gpu: int | None
    host: int


def choose(asked: str, why_not: str | None, needed: int, free: Memory) -> Placement:
    """The placement asked for, or with `auto` the fastest that fits.

    `why_not` says why the weights cannot be changed in place, None if they can; `needed` is the
    size of W0 in bytes. Raises: BaseLoadFailed if what is asked for cannot be.
    """
    if asked != "auto":
        return _asked(Placement(asked), why_not, free)
    if why_not is not None:
        return Placement.UNFUSED
    if free.gpu is None:
        # Where the base computes on the CPU both lie in the same memory, whatever is free.
        return Placement.HOST
    if free.gpu - needed >= GPU_WORKING_BYTES:
        return Placement.GPU
    if free.host - needed >= HOST_WORKING_BYTES:
        return Placement.HOST
    return Placement.UNFUSED


def _asked(asked: Placement, why_not: str | None, free: Memory) -> Placement:
    if asked is not Placement.UNFUSED and why_not is not None:
        raise BaseLoadFailed(f'placement = "{asked}": {why_not}; leave it out or give "unfused"')
    if asked is Placement.GPU and free.gpu is None:
        raise BaseLoadFailed('placement = "gpu": this base computes on the CPU; leave it out')
    return asked
