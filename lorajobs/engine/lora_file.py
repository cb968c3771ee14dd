"""The tensors of a safetensors file, as views into one piece of memory."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lorajobs.adapters.anatomy import listed
from lorajobs.adapters.header import Header, read_header
from lorajobs.errors import LoraInvalidFile
from lorajobs.lora_errors import LoraNotFinite, LoraUnsupported

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    # Some trainers write alpha as an integer.
    "I64": torch.int64,
    "I32": torch.int32,
}


#: What the mathematics is done in anyway, and what holds the smallest kinds exactly.
_READ_AS = {
    torch.float64: torch.float32,
    torch.float8_e4m3fn: torch.float16,
    torch.float8_e5m2: torch.float16,
}


class LoraFile(NamedTuple):
    """A file in memory."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    #: the bytes of all tensors
    body: Tensor


def header(path: Path) -> Header:
    """Reads a file's header alone.

    Raises: LoraInvalidFile, LoraPickle.
    """
    try:
        return read_header(path)
    except OSError as error:
        raise LoraInvalidFile(f"the file cannot be read: {error}") from error


def load(path: Path, header: Header, only: Iterable[str] | None = None) -> LoraFile:
    """Reads a file whole, in one piece, given its checked header; or `only` some of its tensors.

    Raises: LoraInvalidFile, LoraUnsupported naming a tensor of a dtype that has no place in an
    adapter.
    """
    whole = _mapped(path, header)
    tensors = {}
    for name in header.tensors if only is None else only:
        dtype, shape, (begin, end) = header.tensors[name]
        if dtype not in DTYPES:
            raise LoraUnsupported(f"{name} has the dtype {dtype}, which no adapter has")
        kind = DTYPES[dtype]
        # A view needs an aligned start, which the format does not promise.
        part = whole[begin:end]
        part = part.clone() if part.storage_offset() % kind.itemsize else part
        tensor = part.view(kind).view(shape)
        tensors[name] = tensor.to(_READ_AS[kind]) if kind in _READ_AS else tensor
    return LoraFile(tensors, dict(header.metadata), whole)


def _mapped(path: Path, header: Header) -> Tensor:
    """The bytes after the header, straight from the page cache: nothing is copied yet."""
    size = header.start + header.bytes
    try:
        storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    except (OSError, RuntimeError) as error:
        raise LoraInvalidFile(f"the file cannot be read: {error}") from error
    whole = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[arg-type]
    return whole[header.start :]


def require_finite(file: LoraFile) -> None:
    """Raises: LoraNotFinite, naming the tensors with a NaN or infinite value."""
    if _is_finite_at_once(file):
        return
    floats = {name: t for name, t in file.tensors.items() if t.is_floating_point() and t.numel()}
    broken = [name for name, tensor in floats.items() if not _is_finite(tensor)]
    if broken:
        raise LoraNotFinite(
            f"{len(broken)} of its {len(file.tensors)} tensors are not finite (NaN or infinite): "
            f"{listed(broken)}"
        )


def _is_finite_at_once(file: LoraFile) -> bool:
    """One fast pass over all tensors if they have one precision and lie one after another."""
    dtypes = {tensor.dtype for tensor in file.tensors.values()}
    kind = next(iter(dtypes), torch.int64)
    if len(dtypes) > 1 or not kind.is_floating_point or file.body.data_ptr() % kind.itemsize:
        return False
    if sum(tensor.nbytes for tensor in file.tensors.values()) != file.body.nbytes:
        return False
    if not file.body.nbytes:
        return False
    low, high = torch.aminmax(file.body.view(kind))
    return bool(low.isfinite() & high.isfinite())


def _is_finite(tensor: Tensor) -> bool:
    # A sum is one fast pass; only if it overflows must every value be looked at.
    total = tensor.sum(dtype=torch.float32)
    return bool(total.isfinite()) or bool(tensor.isfinite().all())
