"""Adapters on the server's own disk, below the folders that the operator names."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lorajobs.adapters.card import Card
from lorajobs.adapters.folder import Pin, Trust
from lorajobs.adapters.reference import PathReference, Reference
from lorajobs.adapters.tokens import beside, is_tokens, pickled_beside
from lorajobs.errors import LoraFetchFailed, LoraNotFound, LoraTooLarge, PathNotAllowed
from lorajobs.settings import Settings

#: a folder with more is not an adapter's
MAX_FILES = 10_000


class PathSource:
    """Opens files and folders; the operator's own file may name any, others only `lora_roots`."""

    def __init__(self, settings: Settings) -> None:
        self._roots = [root.expanduser().resolve() for root in settings.lora_roots]

    def open(self, reference: Reference, trust: Trust, where: str) -> "PathFolder":
        """Follows every symlink, then checks where that leads.

        Raises: PathNotAllowed naming the setting, LoraNotFound.
        """
        assert isinstance(reference, PathReference)
        roots = None if trust is Trust.CONFIGURED else self._roots
        path = _allowed(Path(reference.path), roots, where)
        if not path.exists():
            raise LoraNotFound(f"{where}: there is no such file or folder on the server")
        return PathFolder(where, path, roots)


class PathFolder:
    """A file, or a folder with what lies below it."""

    card: Card | None = None

    def __init__(self, where: str, path: Path, roots: Sequence[Path] | None) -> None:
        self.where = where
        self._root = path if path.is_dir() else path.parent
        self._roots = roots
        self._single = None if path.is_dir() else path.name

    @property
    def names(self) -> Sequence[str]:
        """The files below the folder, its own first; of a single file what belongs to it."""
        if self._single:
            return [self._single, *tokens_of(self._root / self._single)]
        found: list[str] = []
        for folder, _, files in os.walk(self._root):
            found += [str((Path(folder) / file).relative_to(self._root)) for file in files]
            if len(found) > MAX_FILES:
                raise LoraNotFound(
                    f"{self.where} holds more than {MAX_FILES} files; name the adapter's own"
                )
        return found

    def pin(self, name: str) -> Pin | None:
        """None: a file on disk may change at any time."""
        return None

    def state(self, name: str) -> str | None:
        """Size and times of the file: cheap, and different once it was written or replaced."""
        stat = self._file(name).stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"

    def copy(self, name: str, target: Path, max_bytes: int) -> None:
        """Copies the file; one that changes meanwhile is refused, as half of it would be old."""
        path = self._file(name)
        size = path.stat().st_size
        if size > max_bytes:
            raise LoraTooLarge(f"{self.where} has {size} bytes, allowed are {max_bytes}")
        before = self.state(name)
        shutil.copyfile(path, target)
        if self.state(name) != before:
            raise LoraFetchFailed(f"{self.where} changed while it was read; try again")

    def _file(self, name: str) -> Path:
        path = _allowed(self._root / name, self._roots, self.where)
        if not path.is_file():
            raise LoraNotFound(f"{self.where}: {name} is not there or is not a regular file")
        return path


def tokens_of(file: Path) -> Sequence[str]:
    """The names of what was trained together with a weight file and lies beside it."""
    if is_tokens(file.name):
        return []
    names = [entry.name for entry in os.scandir(file.parent)]
    return list(filter(None, (beside(file.name, names), pickled_beside(file.name, names))))


def _allowed(path: Path, roots: Sequence[Path] | None, where: str) -> Path:
    """The real path, if it lies in one of the roots (None: anywhere)."""
    real = path.resolve()
    if roots is None or any(real.is_relative_to(root) for root in roots):
        return real
    if not roots:
        raise PathNotAllowed(
            f"{where}: paths on the server are not allowed; the operator can name folders for "
            "them in LORAJOBS_LORA_ROOTS"
        )
    raise PathNotAllowed(f"{where} lies outside the folders of LORAJOBS_LORA_ROOTS")
