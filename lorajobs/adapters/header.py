"""The header of a safetensors file, read without torch and without its tensors."""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from lorajobs.errors import LoraInvalidFile, LoraPickle

#: A header of 20,000 tensors with long names is 4 MiB; larger ones only cost memory.
MAX_HEADER_BYTES = 16 * 2**20
#: LoKr of the largest bases has 5,000.
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 16
#: Those of trainers have about 100 letters; looking at one may take the square of its length.
MAX_NAME = 512
_FIRST_BYTES = 64 * 2**10

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}

#: How `struct` reads one value.
_SCALARS = {"F64": "<d", "F32": "<f", "F16": "<e", "BF16": "<f", "I64": "<q", "I32": "<i"}

#: What often lies where a safetensors file should be, by its first bytes.
_OTHERS = (
    (b"<", "is a web page (HTML or XML), not a weight file"),
    (b"version https://git-lfs", "is a Git LFS pointer; the weights were never downloaded"),
    (b"\x1f\x8b", "is a gzip archive"),
    (b"{", "is JSON, not a weight file"),
)
_FIELDS = {"dtype", "shape", "data_offsets"}
_PICKLES = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))


#: First byte and the one after the last.
Span = tuple[int, int]


class Tensor(NamedTuple):
    """One tensor as the header declares it."""

    dtype: str
    shape: tuple[int, ...]
    #: counted from `Header.start`
    span: Span


class Header(NamedTuple):
    """The tensors by name and the file's own metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    #: where the tensors begin in the file, and how many bytes they are
    start: int
    bytes: int


def read_header(path: Path, name: str | None = None) -> Header:
    """Reads and checks the header of a file that errors call `name`.

    Raises: LoraInvalidFile saying what is wrong, LoraPickle for a pickle.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
        whole = 8 + int.from_bytes(start[:8], "little")
        if len(start) < whole <= min(size, 8 + MAX_HEADER_BYTES):
            start += file.read(whole - len(start))
    header = parse_header(start, size, name or path.name)
    if header is None:
        raise LoraInvalidFile(f"{name or path.name} became shorter while it was read")
    return header


def scalars(path: Path, header: Header, names: Iterable[str]) -> Sequence[float]:
    """The values of tensors with one element, such as alphas; others are left out."""
    found = []
    with path.open("rb") as file:
        for tensor in (header.tensors[name] for name in names):
            begin, end = tensor.span
            file.seek(header.start + begin)
            value = scalar(tensor, file.read(end - begin))
            found += [value] if value is not None else []
    return found


def scalar(tensor: Tensor, raw: bytes) -> float | None:
    """The value of a tensor that these bytes are; None if it is not one number."""
    if tensor.dtype not in _SCALARS or math.prod(tensor.shape) != 1:
        return None
    # bfloat16 is the upper half of a float32.
    raw = b"\x00\x00" + raw if tensor.dtype == "BF16" else raw
    return float(struct.unpack(_SCALARS[tensor.dtype], raw)[0])


def parse_header(start: bytes, size: int, called: str) -> Header | None:
    """Checks the header in the first bytes of a file of `size` bytes; None if they are too few.

    Raises: LoraInvalidFile saying what is wrong, LoraPickle for a pickle.
    """
    length = int.from_bytes(start[:8], "little")
    # The eight length bytes of a valid file may look like anything, so they go first.
    if start[8:9] != b"{" or 8 + length > size:
        raise _foreign(start[:32], size, called)
    if length > MAX_HEADER_BYTES:
        raise LoraInvalidFile(f"{called}: its header is larger than {MAX_HEADER_BYTES} bytes")
    if len(start) < 8 + length:
        return None
    raw = start[8 : 8 + length]
    try:
        return _checked(json.loads(raw, object_pairs_hook=unique), 8 + length, size - 8 - length)
    except (ValueError, RecursionError) as error:
        raise LoraInvalidFile(f"{called} is not a valid safetensors file: {error}") from error


def _foreign(start: bytes, size: int, called: str) -> LoraInvalidFile | LoraPickle:
    if not size:
        return LoraInvalidFile(f"{called} is empty")
    if start[8:9] == b"{":
        return LoraInvalidFile(f"{called} is truncated: it ends inside its header ({size} bytes)")
    if start.startswith(_PICKLES):
        return LoraPickle(f"{called} is a pickle, which can run code; convert it to .safetensors")
    for magic, what in _OTHERS:
        if start.lstrip().startswith(magic):
            return LoraInvalidFile(f"{called} {what}")
    return LoraInvalidFile(f"{called} is not a safetensors file")


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of a header, for `json`.

    Raises: ValueError if a name stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _checked(header: object, start: int, data_bytes: int) -> Header:
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts")
    if not header:
        raise ValueError("it holds no tensors")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"it holds more than {MAX_TENSORS} tensors")
    for name, entry in header.items():
        _require_described(name, entry)
    _require_numbers(header)
    tensors = {
        name: Tensor(entry["dtype"], tuple(entry["shape"]), tuple(entry["data_offsets"]))
        for name, entry in header.items()
    }
    for name, (dtype, shape, (begin, end)) in tensors.items():
        if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
            raise ValueError(f"tensor {name!r} has offsets that do not fit its shape")
    _require_gapless(sorted(tensor.span for tensor in tensors.values()), data_bytes)
    return Header(tensors, metadata, start, data_bytes)


def _require_described(name: str, entry: object) -> None:
    if len(name) > MAX_NAME:
        raise ValueError(f"it has a name of {len(name)} letters, allowed are {MAX_NAME}")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not (isinstance(shape, list) and isinstance(offsets, list)):
        raise ValueError(f"tensor {name!r} has a wrong shape or wrong offsets")
    if len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise ValueError(f"tensor {name!r} has a wrong shape or wrong offsets")


def _require_numbers(entries: Mapping[str, Mapping[str, list[Any]]]) -> None:
    # All of them at once: there are thousands, and jobs wait for them.
    described = entries.values()
    lists = chain((e["shape"] for e in described), (e["data_offsets"] for e in described))
    if _are_numbers([*chain.from_iterable(lists)]):
        return
    wrong = next(n for n, e in entries.items() if not _are_numbers(e["shape"] + e["data_offsets"]))
    raise ValueError(f"tensor {wrong!r} has a wrong shape or wrong offsets")


def _are_numbers(values: list[Any]) -> bool:
    return {*map(type, values)} == {int} and min(values) >= 0 and max(values) < 2**63


def _require_gapless(spans: list[Span], data_bytes: int) -> None:
    at = 0
    for begin, end in spans:
        if begin != at:
            raise ValueError("its tensors overlap or leave gaps")
        at = end
    if at > data_bytes:
        raise ValueError(f"it is truncated: {data_bytes} of {at} bytes of weights are there")
    if at < data_bytes:
        raise ValueError(f"{data_bytes - at} bytes follow the last tensor")
