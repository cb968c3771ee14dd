"""The memory that a worker's parent and its child share: readiness, what is loaded, what to stop.

It is made before the child is forked, so a child that replaces a dead one finds the same page.
"""

import json
import mmap
import os
import struct
import time
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from pydantic import TypeAdapter

from lorajobs.bell import Bell
from lorajobs.jobs import AppliedLora, Lease
from lorajobs.report import ReportPipe

#: Checksum and length, before the bytes of a slot.
_HEAD = struct.Struct("<II")
#: Holds four adapters whose references are as long as a request may make them.
_SLOT_BYTES = 65_536
#: A write takes microseconds, unless its process is interrupted in the middle.
_LOOKS = 10
_LORAS = TypeAdapter(tuple[AppliedLora, ...])


class _Slot:
    """One value with one writer; a reader sees an old value or the new one, never half of each."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self._memory = memory
        self._start = index * _SLOT_BYTES
        self._last = b""

    def write(self, value: bytes) -> None:
        if len(value) > _SLOT_BYTES - _HEAD.size:
            raise ValueError(f"a slot holds {_SLOT_BYTES - _HEAD.size} bytes, not {len(value)}")
        body = self._start + _HEAD.size
        self._memory[body : body + len(value)] = value
        # Not pack_into, which clears the place first: that would read as an empty value.
        self._memory[self._start : body] = _HEAD.pack(zlib.crc32(value), len(value))
        self._last = value

    def read(self) -> bytes:
        for _ in range(_LOOKS):
            checksum, length = _HEAD.unpack_from(self._memory, self._start)
            body = self._start + _HEAD.size
            value = self._memory[body : body + length]
            if zlib.crc32(value) == checksum:
                self._last = value
                break
        # Torn at every look: what was there before still holds.
        return self._last


#: As many SHA-256 in hex as fit into a slot.
_RESIDENTS = 1000
#: What a base is taken to need before any was loaded, seconds.
_A_LOAD_S = 10.0
#: The same where it is parked.
_A_RETURN_S = 1.0


class _Told(NamedTuple):
    """What a child last said of its bases."""

    model: str
    placement: str
    parked: Sequence[str]
    #: seconds that each took to come from the disk, and from host memory
    loads: dict[str, float]
    returns: dict[str, float]


class WorkerPage:
    """Eight values between one parent and its one child."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, 8 * _SLOT_BYTES)
        slots = [_Slot(memory, index) for index in range(8)]
        self._ready, self._cancel, self._loaded, self._failure = slots[:4]
        self._alive, self._stop, self._base, self._resident = slots[4:]
        #: what the child measures
        self.reports = ReportPipe()
        #: rung by the parent when a ticket waits for adapters
        self.bell = Bell()

    # The child writes

    def say_ready(self) -> None:
        """Says that this process has its base warm."""
        self._ready.write(str(os.getpid()).encode())

    def say_loaded(self, adapters: Sequence[AppliedLora]) -> None:
        """Says which adapters are applied now."""
        self._loaded.write(_LORAS.dump_json(tuple(adapters)))

    def say_resident(self, sha256s: Iterable[str]) -> None:
        """Says which adapters are in host memory, as far as there is room."""
        self._resident.write(" ".join(list(sha256s)[:_RESIDENTS]).encode())

    def say_base(
        self, model: str, took_s: float, placement: str = "", parked: Sequence[str] = ()
    ) -> None:
        """Says which base is loaded now, empty for none, how long that took, `placement()`, and
        which others are parked.
        """
        told = self._told()
        # One that was parked before has come back.
        took = told.returns if model in told.parked else told.loads
        if model:
            took[model] = took_s
        self._base.write(json.dumps(_Told(model, placement, parked, *told[3:])).encode())

    def say_none_parked(self) -> None:
        """Says that what the child before had parked went with it."""
        self._base.write(json.dumps(self._told()._replace(parked=())).encode())

    def say_failed(self, detail: str) -> None:
        """Says that the base cannot be loaded, so that the parent stops instead of retrying."""
        self._failure.write(detail.encode()[:4096])

    def say_alive(self, within_s: float) -> None:
        """Promises another sign of life within so many seconds.

        The parent promises the first one, when it hands a job to the waiting child.
        """
        self._alive.write(repr(time.monotonic() + within_s).encode())

    # The parent reads

    def is_overdue(self) -> bool:
        """True if the child has not kept its last promise, so it hangs."""
        promised = self._alive.read()
        # The monotonic clock is the machine's, the same in both processes.
        return bool(promised) and time.monotonic() > float(promised)

    def is_ready(self, children: Collection[int]) -> bool:
        """True if one of these processes has said that it is ready."""
        pid = self._ready.read()
        return bool(pid) and int(pid) in children

    def loaded(self) -> Sequence[AppliedLora]:
        """The adapters applied in the child."""
        value = self._loaded.read()
        return _LORAS.validate_json(value) if value else ()

    def resident(self) -> frozenset[str]:
        """The SHA-256 of adapters in the child's host memory."""
        return frozenset(self._resident.read().decode().split())

    def base(self) -> str:
        """The id of the base that is loaded, empty if none is."""
        return self._told().model

    def placement(self) -> str:
        """Where that base's pristine weights lie, empty if nobody knows."""
        return self._told().placement

    def parked(self) -> Sequence[str]:
        """The bases that wait in host memory."""
        return self._told().parked

    def load_s(self, model: str) -> float:
        """How long this base takes to come: as the last time, from where it is, else as others."""
        told = self._told()
        is_parked = model in told.parked
        took, other = (told.returns, _A_RETURN_S) if is_parked else (told.loads, _A_LOAD_S)
        return took.get(model) or max(took.values(), default=other)

    def _told(self) -> _Told:
        value = self._base.read()
        return _Told(*json.loads(value)) if value else _Told("", "", (), {}, {})

    def failure(self) -> str:
        """Why the base cannot be loaded, empty if nothing is wrong."""
        return self._failure.read().decode(errors="replace")

    # The parent writes, the child reads at each step

    def ask_cancel(self, lease: Lease) -> None:
        """Asks the child to stop this attempt; another attempt ignores it."""
        self._cancel.write(json.dumps(lease).encode())

    def cancel_asked(self, lease: Lease) -> bool:
        """True if this attempt was asked to stop."""
        return self._cancel.read() == json.dumps(lease).encode()

    def ask_stop(self, grace_s: float) -> None:
        """Asks the child to stop whatever it runs in so many seconds; only the first call counts.

        It takes no lock, so a signal handler may call it.
        """
        if not self.is_stopping():
            self._stop.write(repr(time.monotonic() + grace_s).encode())

    def is_stopping(self) -> bool:
        """True if the worker takes no more jobs."""
        return bool(self._stop.read())

    def must_stop(self, late_s: float = 0.0) -> bool:
        """True if the grace, and so many seconds more, are over."""
        grace_ends = self._stop.read()
        return bool(grace_ends) and time.monotonic() > float(grace_ends) + late_s
