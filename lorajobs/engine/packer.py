"""Brings adapters from their files into host memory."""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from lorajobs.adapters.header import MAX_HEADER_BYTES, unique
from lorajobs.engine import lora_file
from lorajobs.engine.arena import Arena
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.blob import Packed, pack
from lorajobs.engine.layout import Layout, learned
from lorajobs.engine.lora_config import HEADER_KEY
from lorajobs.engine.pool import Pool
from lorajobs.engine.rack import Read

#: One core uses a small part of what the memory can take.
_THREADS = 16
#: Layouts that are remembered: some trainers' favourite ranks and targets, about 1 MB each.
_LAYOUTS = 64
_METADATA = '{"__metadata__":'


class Opened(NamedTuple):
    """A file whose header looks like one."""

    descriptor: int
    #: where its tensors begin, and their bytes
    start: int
    size: int
    #: says all that decides where its tensors go and how strongly they count
    layout: bytes


class Packer:
    """Reads each file strictly, or, after one with the same header, straight to its place."""

    def __init__(self, read: Read, arena: Arena, pool: Pool) -> None:
        """`read` accounts for every tensor; what it refuses is never packed."""
        self._read = read
        self._arena = arena
        self._pool = pool
        self._threads = ThreadPoolExecutor(_THREADS, "packer")
        self._layouts: OrderedDict[bytes, Layout] = OrderedDict()

    def packed(self, adapter: LocalAdapter) -> Packed:
        """An adapter in host memory.

        Raises: LoraRefused and LoraNotApplied, as `read` and `pack` do.
        """
        with _opened(adapter) as file:
            if file is None:
                return pack(self._read(adapter), self._arena, self._pool, self._threads)
            return self._quickly(file) or self._strictly(adapter, file.layout)

    def _quickly(self, file: Opened) -> Packed | None:
        layout = self._layouts.get(file.layout)
        if layout is None or layout.tensors != file.size:
            return None
        self._layouts.move_to_end(file.layout)
        return layout.packed(file.descriptor, file.start, self._pool, self._threads)

    def _strictly(self, adapter: LocalAdapter, name: bytes) -> Packed:
        parts = self._read(adapter)
        packed = pack(parts, self._arena, self._pool, self._threads)
        layout = learned(packed, parts, self._arena, lora_file.header(adapter.path))
        if layout is not None:
            self._layouts[name] = layout
            while len(self._layouts) > _LAYOUTS:
                self._layouts.popitem(last=False)
        return packed


@contextmanager
def _opened(adapter: LocalAdapter) -> Iterator[Opened | None]:
    """The file; None if it can only be refused, which the strict way does with a reason."""
    try:
        descriptor = os.open(adapter.path, os.O_RDONLY)
    except OSError:
        yield None
        return
    try:
        yield _looked_at(descriptor, adapter)
    finally:
        os.close(descriptor)


def _looked_at(descriptor: int, adapter: LocalAdapter) -> Opened | None:
    try:
        length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
        size = os.fstat(descriptor).st_size - 8 - length
        if length > MAX_HEADER_BYTES or size < 0:
            return None
        layout = _layout(os.pread(descriptor, length, 8).decode())
    except (OSError, ValueError, RecursionError):
        return None
    told = json.dumps(adapter.use.adapter.peft_config, sort_keys=True)
    return Opened(descriptor, 8 + length, size, sha256(layout + told.encode()).digest())


def _layout(header: str) -> bytes:
    """What a header says of the tensors: all of it but metadata that only tell its story.

    Trainers write the date and the file's own hash into each; read is `HEADER_KEY` alone.

    Raises: ValueError for metadata that are none.
    """
    told: Mapping[str, object] = {}
    if header.startswith(_METADATA):
        decoder = json.JSONDecoder(object_pairs_hook=unique)
        told, end = decoder.raw_decode(header, len(_METADATA))
        if not isinstance(told, dict) or not all(isinstance(v, str) for v in told.values()):
            raise ValueError("its metadata are not texts")
        header = _METADATA + header[end:]
    # Writers fill a header up with spaces, by the length of its metadata.
    return f"{json.dumps(told.get(HEADER_KEY))}{header.rstrip(' ')}".encode()
