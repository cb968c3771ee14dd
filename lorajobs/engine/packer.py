"""Brings adapters from their files into host memory."""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple, Protocol

from lorajobs.adapters.header import MAX_HEADER_BYTES, unique
from lorajobs.engine.arena import Arena
from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.blob import Packed, pack
from lorajobs.engine.layer import Parts
from lorajobs.engine.layout import Layout, laid_out
from lorajobs.engine.lora_config import HEADER_KEY
from lorajobs.engine.pool import Pool
from lorajobs.engine.products import Products

#: One core uses a small part of what the memory can take.
_THREADS = 16
#: Layouts that are remembered: some trainers' favourite ranks and targets, about 1 MB each.
_LAYOUTS = 64
_METADATA = '{"__metadata__":'


class Source(Protocol):
    """What accounts for every tensor of a file; see `lorajobs.engine.lora_weights.Reader`."""

    def read(self, adapter: LocalAdapter) -> Parts:
        """All layers, every value looked at.

        Raises: LoraRefused and LoraNotApplied.
        """

    def products(self, adapter: LocalAdapter) -> Products | None:
        """What a file does by its header; None if that does not tell, or it is refused."""


class Opened(NamedTuple):
    """A file whose header looks like one."""

    descriptor: int
    #: where its tensors begin, and their bytes
    start: int
    size: int
    #: says all that decides where its tensors go and how strongly they count
    layout: bytes


class Packer:
    """Reads a file straight to its place if its header tells that, else strictly."""

    def __init__(self, source: Source, arena: Arena, pool: Pool) -> None:
        """`source` accounts for every tensor; what it refuses is never packed."""
        self._source = source
        self._arena = arena
        self._pool = pool
        self._threads = ThreadPoolExecutor(_THREADS, "packer")
        self._layouts: OrderedDict[bytes, Layout] = OrderedDict()

    def packed(self, adapter: LocalAdapter) -> Packed:
        """An adapter in host memory.

        Raises: LoraRefused and LoraNotApplied, as `Source.read` and `pack` do.
        """
        with _opened(adapter) as file:
            found = file and (
                self._by(self._layouts.get(file.layout), file) or self._new(adapter, file)
            )
        return found or pack(self._source.read(adapter), self._arena, self._pool, self._threads)

    def _new(self, adapter: LocalAdapter, file: Opened) -> Packed | None:
        products = self._source.products(adapter)
        return self._by(products and laid_out(products, self._arena), file)

    def _by(self, layout: Layout | None, file: Opened) -> Packed | None:
        """Reads a file and remembers how; None if the layout is not its own, or it is broken."""
        if layout is None or layout.tensors != file.size:
            return None
        packed = layout.packed(file.descriptor, file.start, self._pool, self._threads)
        if packed is not None:
            self._layouts[file.layout] = layout
            self._layouts.move_to_end(file.layout)
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
