"""Compiled code kept between processes, in files of the data folder.

torch keeps it on the machine's temporary disk itself, which a new container does not have. What
is kept here is torch's own bundle of it (`torch.compiler.save_cache_artifacts`): code of graphs,
kernels, choices of tuning. Each part is looked up by all that it was made from, so an old file
can be useless but never wrong.
"""

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch._dynamo.utils import counters

log = logging.getLogger(__name__)

FOLDER = "compiled"
#: Of one base's files the newest stay that have no more bytes together.
MOST_BYTES = 1 << 30
_DIGEST_BYTES = hashlib.sha256().digest_size


class _Bundle(Protocol):
    @property
    def artifacts(self) -> dict[str, list[str]]:
        """The keys of its parts by kind."""


class CompiledCode:
    """The files of one base on one kind of device.

    They hold pickles, as torch's own cache does: who may write to the folder runs code here.
    """

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet; `folder` is this base's own, see `folder_of`."""
        self._folder = folder
        self._known: set[tuple[str, str]] = set()
        self._compilations = _compilations()

    def load(self) -> int:
        """Hands what was kept to the compiler, before it compiles; the number of parts."""
        try:
            for file in self._files():
                if bundle := _read(file):
                    self._known |= _keys(torch.compiler.load_cache_artifacts(bundle))
        except OSError as error:
            # Perhaps another process has just taken it away.
            log.warning("compiled code: %s", error)
        log.info("compiled code: %d parts of %s", len(self._known), self._folder)
        return len(self._known)

    def keep(self) -> bool:
        """Writes a file if something was compiled that none has; it costs nothing otherwise.

        A disk that is full or read-only only means that the next process compiles again.
        """
        if self._compilations == _compilations():
            return False
        self._compilations = _compilations()
        saved = torch.compiler.save_cache_artifacts()
        if saved is None or _keys(saved[1]) <= self._known:
            return False
        try:
            self._write(*saved)
        except OSError as error:
            log.warning("compiled code is not kept: %s", error)
            return False
        return True

    def _write(self, bundle: bytes, info: _Bundle) -> None:
        keys = _keys(info)
        # Workers on GPUs of one kind compile the same: theirs is one file.
        name = hashlib.sha256(repr(sorted(keys)).encode()).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{name}.bin"
        draft = self._folder / f"{name}.{secrets.token_hex(4)}.new"
        try:
            draft.write_bytes(hashlib.sha256(bundle).digest() + bundle)
            os.replace(draft, file)
        finally:
            draft.unlink(missing_ok=True)
        log.info("compiled code: kept %d parts, %d MiB, in %s", len(keys), len(bundle) >> 20, file)
        self._known |= keys
        # None replaces another: of a process's second bundle torch 2.13 reads only what is new.
        left = MOST_BYTES
        for one in self._files():
            left -= one.stat().st_size
            if left < 0 and one != file:
                one.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """The newest first."""
        return sorted(self._folder.glob("*.bin"), key=lambda f: f.stat().st_mtime_ns, reverse=True)


def compiled_code(data_dir: Path, device: torch.device, base: str) -> CompiledCode | None:
    """What is kept for this base on this device; None, with a logged reason, if torch cannot."""
    if not hasattr(torch.compiler, "save_cache_artifacts"):
        log.warning("compiled code is not kept: torch %s cannot, 2.7 can", torch.__version__)
        return None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return CompiledCode(folder_of(data_dir, str(torch.__version__), name, base))


def folder_of(data_dir: Path, *key: str) -> Path:
    """One for each key: readable words, and a digest where they would not be enough."""
    words = "-".join(re.sub(r"[^a-zA-Z0-9.]+", "-", word).strip("-") for word in key)
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:8]
    return data_dir.expanduser() / FOLDER / f"{words[:100]}-{digest}"


def _read(file: Path) -> bytes | None:
    data = file.read_bytes()
    digest, bundle = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(bundle).digest() == digest:
        return bundle
    log.warning("compiled code: %s is damaged, so it is not used", file)
    return None


def _keys(info: _Bundle | None) -> set[tuple[str, str]]:
    return set(_pairs(info)) if info else set()


def _pairs(info: _Bundle) -> Iterator[tuple[str, str]]:
    for kind, keys in info.artifacts.items():
        for key in keys:
            yield kind, key


def _compilations() -> int:
    return int(counters["stats"]["unique_graphs"])
