"""The memory that a worker's parent and its child share: readiness, cancellation, what is loaded.

It is made before the child is forked, so a child that replaces a dead one finds the same page.
"""

import json
import mmap
import os
import struct
from collections.abc import Collection, Sequence

from pydantic import TypeAdapter

from lorajobs.jobs import AppliedLora, Lease

_LENGTH = struct.Struct("<I")
_SLOT_BYTES = 16_384
_LORAS = TypeAdapter(tuple[AppliedLora, ...])


class _Slot:
    """One value with one writer; a reader sees the old value, the new one or nothing."""

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self._memory = memory
        self._start = index * _SLOT_BYTES

    def write(self, value: bytes) -> None:
        if len(value) > _SLOT_BYTES - _LENGTH.size:
            raise ValueError(f"a slot holds {_SLOT_BYTES - _LENGTH.size} bytes, not {len(value)}")
        # Length 0 while the bytes are torn.
        _LENGTH.pack_into(self._memory, self._start, 0)
        body = self._start + _LENGTH.size
        self._memory[body : body + len(value)] = value
        _LENGTH.pack_into(self._memory, self._start, len(value))

    def read(self) -> bytes:
        (length,) = _LENGTH.unpack_from(self._memory, self._start)
        body = self._start + _LENGTH.size
        return self._memory[body : body + length]


class WorkerPage:
    """Four values between one parent and its one child."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, 4 * _SLOT_BYTES)
        self._ready, self._cancel, self._loaded, self._failure = (
            _Slot(memory, index) for index in range(4)
        )

    # The child writes

    def say_ready(self) -> None:
        """Says that this process has its base warm."""
        self._ready.write(str(os.getpid()).encode())

    def say_loaded(self, adapters: Sequence[AppliedLora]) -> None:
        """Says which adapters are applied now."""
        self._loaded.write(_LORAS.dump_json(tuple(adapters)))

    def say_failed(self, detail: str) -> None:
        """Says that the base cannot be loaded, so that the parent stops instead of retrying."""
        self._failure.write(detail.encode()[:4096])

    # The parent reads

    def is_ready(self, children: Collection[int]) -> bool:
        """True if one of these processes has said that it is ready."""
        pid = self._ready.read()
        return bool(pid) and int(pid) in children

    def loaded(self) -> Sequence[AppliedLora]:
        """The adapters applied in the child."""
        value = self._loaded.read()
        return _LORAS.validate_json(value) if value else ()

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
